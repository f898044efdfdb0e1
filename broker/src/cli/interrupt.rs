//! SIGINT and SIGTERM for the commands that may run long: the first one asks them to end in order, the second ends them at once.
//!
//! A thread of its own waits for them, so that neither a broker that does not answer nor a reader that does not read can hold up the
//! second. The broker's own signals are `serve`'s matter.

use std::process;
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::failure::Failure;

/// A signal so soon after the first is the same one: `timeout` and other wrappers send it to the process and to its group.
const ECHO: Duration = Duration::from_millis(300);

/// The first signal, when it comes.
pub(super) struct Interrupt(watch::Receiver<Option<i32>>);

impl Interrupt {
    /// Takes the signals from now on. After the first one the process has `grace` to end by itself, or for ever with `None`.
    pub(super) fn watch(grace: Option<Duration>) -> Result<Interrupt, Failure> {
        let failed = |error| Failure::other(format!("signals cannot be watched: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (interrupt, terminate) = {
            let _entered = runtime.enter();
            (signal(SignalKind::interrupt()).map_err(failed)?, signal(SignalKind::terminate()).map_err(failed)?)
        };
        let (sender, receiver) = watch::channel(None);
        let wait = move || runtime.block_on(wait(interrupt, terminate, &sender, grace));
        thread::Builder::new().name("signals".to_owned()).spawn(wait).map_err(failed)?;
        Ok(Interrupt(receiver))
    }

    /// Waits for the first signal; its number.
    pub(super) async fn first(&mut self) -> i32 {
        match self.0.wait_for(Option::is_some).await {
            Ok(number) => number.expect("it was waited for"),
            // The thread only ends with the process.
            Err(_) => std::future::pending().await,
        }
    }
}

async fn wait(
    mut interrupt: Signal,
    mut terminate: Signal,
    sender: &watch::Sender<Option<i32>>,
    grace: Option<Duration>,
) {
    let first = next(&mut interrupt, &mut terminate).await;
    // Whoever is no longer interested is about to end.
    let _ = sender.send(Some(first));
    let settled = Instant::now() + ECHO;
    while timeout_at(settled, next(&mut interrupt, &mut terminate)).await.is_ok() {}
    let second = match grace {
        None => next(&mut interrupt, &mut terminate).await,
        Some(grace) => timeout(grace, next(&mut interrupt, &mut terminate)).await.unwrap_or(first),
    };
    process::exit(128 + second);
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal) -> i32 {
    tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        _ = terminate.recv() => SignalKind::terminate().as_raw_value(),
    }
}
