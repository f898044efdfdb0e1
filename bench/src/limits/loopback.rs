//! How fast bytes go through the loopback device when somebody only sends and somebody only receives.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::cli::LimitsOptions;
use crate::process_usage::thread_cpu;
use crate::report::{RECEIVER_CPU, Run, SENDER_CPU, cpu_per_gb, rate};
use crate::sockets;

const SEND_BYTES: usize = 256 * 1024;
/// What a consumer receives into, over and over: it stays in the processor's cache.
pub(crate) const RECEIVE_BYTES: usize = 256 * 1024;

/// Sends the same buffer again and again.
pub(crate) fn run(options: &LimitsOptions) -> io::Result<Run> {
    let buffer = vec![0x5a; SEND_BYTES];
    let sends = options.bytes.div_ceil(SEND_BYTES as u64);
    transfer(|socket| {
        for _ in 0..sends {
            socket.write_all(&buffer)?;
        }
        Ok(sends * SEND_BYTES as u64)
    })
}

/// Runs `send` on this thread against a receiver that discards, and measures both. `send` says how much it sent.
pub(crate) fn transfer(send: impl FnOnce(&mut TcpStream) -> io::Result<u64>) -> io::Result<Run> {
    let (mut sender, receiver) = sockets::loopback_pair()?;
    let receiving = thread::spawn(move || receive_all(receiver));
    let (started, cpu_before) = (Instant::now(), thread_cpu());
    let sent = send(&mut sender)?;
    let sender_cpu = thread_cpu().saturating_sub(cpu_before);
    sender.shutdown(Shutdown::Write)?;
    let (received, receiver_cpu) = receiving.join().expect("the receiver does not panic")?;
    let elapsed = started.elapsed();
    assert_eq!(received, sent, "a stream of the loopback device loses nothing");
    Ok(vec![
        rate(sent, elapsed),
        cpu_per_gb(SENDER_CPU, sender_cpu, sent),
        cpu_per_gb(RECEIVER_CPU, receiver_cpu, sent),
    ])
}

fn receive_all(mut socket: TcpStream) -> io::Result<(u64, Duration)> {
    let mut buffer = vec![0; RECEIVE_BYTES];
    let mut received = 0;
    loop {
        match socket.read(&mut buffer)? {
            0 => return Ok((received, thread_cpu())),
            count => received += count as u64,
        }
    }
}
