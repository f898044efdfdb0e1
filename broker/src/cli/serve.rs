//! `ringmill serve`: reads the configuration, starts logging, runs the broker until a signal.
//!
//! What the broker does is the composition root's; here are only its flags and its signals.

use std::path::PathBuf;
use std::thread;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::failure::Failure;
use crate::config::{self, Sources};
use crate::logging;

/// Run the broker
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringmill serve --data-dir ./data
  ringmill serve --config /etc/ringmill.toml --listen 0.0.0.0:9092
  ringmill serve --data-dir ./data --set topic.retention.ms=3600000 --set topic.write.caching=true
  RINGMILL__BROKER__NUM_PARTITIONS=4 ringmill serve --data-dir ./data

A flag wins over the environment, the environment over the file. `ringmill config print` lists all settings.
SIGTERM and SIGINT stop the broker cleanly; a second one ends it at once.")]
pub(super) struct Serve {
    #[command(flatten)]
    settings: Settings,
}

/// The flags that set something; `config check` and `config print` take the same.
#[derive(Debug, Args)]
pub(super) struct Settings {
    /// The configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where everything is kept; an empty directory initialises itself
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The address to listen on
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// How files and sockets are used: auto, uring or posix
    #[arg(long, value_name = "KIND")]
    io: Option<String>,
    /// Threads that own partitions and serve connections
    #[arg(long, value_name = "N")]
    cores: Option<String>,
    /// What is logged: error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// How log lines look: auto, text or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Set anything by its full name, as topic.retention.ms=3600000; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
}

impl Settings {
    /// Where to read the configuration from, this process's environment included.
    pub(super) fn sources(self) -> Result<Sources, Failure> {
        let data_dir = self.data_dir.map(|path| path.into_os_string().into_string()).transpose();
        let data_dir = data_dir.map_err(|path| Failure::usage(format!("--data-dir {path:?} is not valid UTF-8")))?;
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let mut sources = Sources {
            file: self.config,
            environment: std::env::vars_os().filter_map(text).collect(),
            flags: Vec::new(),
        };
        for assignment in self.set {
            let Some((name, value)) = assignment.split_once('=') else {
                return Err(Failure::usage(format!(
                    "--set {assignment}: expected NAME=VALUE, for example topic.retention.ms=3600000"
                )));
            };
            sources = sources.flag(&format!("--set {assignment}"), name.trim(), Some(value.to_owned()));
        }
        Ok(sources
            .flag("--data-dir", "broker.log.dirs", data_dir)
            .flag("--listen", "broker.listeners", self.listen)
            .flag("--io", "ringmill.io", self.io)
            .flag("--cores", "ringmill.cores", self.cores)
            .flag("--log-level", "ringmill.log.level", self.log_level)
            .flag("--log-format", "ringmill.log.format", self.log_format))
    }
}

impl Serve {
    pub(super) fn run(self) -> Result<(), Failure> {
        let config = config::load(&self.settings.sources()?)?;
        logging::start(&config.log_level, config.log_format);
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            data_dir = %config.data_dir.display(),
            cores = config.cores,
            "ringmill starts"
        );
        let stop = watch_signals()?;
        crate::serve(config, async move {
            // An error means that the watching thread is gone, which it never is before it has sent.
            let _ = stop.await;
        })
        .map_err(|error| Failure::other(error.to_string()))
    }
}

/// Resolves at the first SIGTERM or SIGINT; the second ends the process at once. A thread of its own, because the broker's threads may
/// be busy stopping when the second one comes.
fn watch_signals() -> Result<oneshot::Receiver<()>, Failure> {
    let failed = |error| Failure::other(format!("signals cannot be watched: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let entered = runtime.enter();
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    // Under a limit on the size of files (`ulimit -f`) a write too far is to fail, not to end the process. Once taken, a signal stays taken.
    drop(signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map_err(failed)?);
    drop(entered);
    let (stop, stopped) = oneshot::channel();
    let watch = move || {
        runtime.block_on(async move {
            let name = next(&mut terminate, &mut interrupt).await;
            tracing::info!(signal = name, "stopping; a second signal ends at once");
            // Nobody listens once the broker has stopped by itself.
            let _ = stop.send(());
            let name = next(&mut terminate, &mut interrupt).await;
            tracing::warn!(signal = name, "ended at once; the next start recovers as after a crash");
            // What a shell reports for a process that a signal ended.
            std::process::exit(if name == "SIGTERM" { 143 } else { 130 });
        });
    };
    thread::Builder::new().name("signals".to_owned()).spawn(watch).map_err(failed)?;
    Ok(stopped)
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        biased;
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
