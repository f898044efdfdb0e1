//! A cached file to a loopback receiver: read into a buffer and sent, or by sendfile(2).

use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use crate::limits::sendfile;
use crate::report::{RECEIVER_CPU, Run, SENDER_CPU};
use crate::trials::{Amounts, Plan, RATE, Row, Stage};

use super::options::Factor;

const SLICE_BYTES: usize = 256 * 1024;

pub(super) fn plans(_: &Amounts) -> Vec<Plan> {
    vec![Plan {
        factor: Factor::Sendfile.name(),
        title: "sendfile against a copy",
        compared: "A file in the page cache goes to a receiver on this machine in slices of 256 KiB: by pread and send, or by sendfile(2)."
            .to_owned(),
        why: "pread copies the bytes out of the page cache into the program's memory, and send copies them into the socket's. sendfile hands \
              the socket the cached pages themselves, so the sender touches no byte of them. The receiver copies either way, and on one \
              machine its work is part of the rate: the sender's CPU time shows the difference best. Ringmill answers fetches by sendfile, which \
              is possible because records are stored exactly as they are sent.",
        lead: RATE,
        shown: &[RATE, SENDER_CPU, RECEIVER_CPU],
        rows: vec![Row::new("pread and send", copied), Row::new("sendfile", sent)],
    }]
}

fn sent(stage: &Stage) -> Result<Run, String> {
    let run = sendfile::serve(stage.dir(), stage.amounts.bytes, |socket, file, position| {
        Ok(rustix::fs::sendfile(socket, file, Some(position), SLICE_BYTES)?)
    });
    run.map_err(|error| error.to_string())
}

fn copied(stage: &Stage) -> Result<Run, String> {
    let mut buffer = vec![0; SLICE_BYTES];
    let run = sendfile::serve(stage.dir(), stage.amounts.bytes, |socket, file, position| {
        let count = file.read_at(&mut buffer, *position)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        socket.write_all(&buffer[..count])?;
        *position += count as u64;
        Ok(count)
    });
    run.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn both_ways_send_all_and_tell_what_it_cost() {
        let dir = tempfile::tempdir().unwrap();
        // More than the file holds once, and no whole number of slices.
        let amounts = Amounts { bytes: 3_300_000, ..Amounts::QUICK };
        let stage = Stage::open(dir.path(), PathBuf::new(), amounts).unwrap();
        for run in [copied(&stage), sent(&stage)] {
            let keys: Vec<&str> = run.unwrap().iter().map(|metric| metric.key).collect();
            assert_eq!(keys, [RATE, SENDER_CPU, RECEIVER_CPU]);
        }
    }
}
