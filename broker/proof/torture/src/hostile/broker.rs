//! A real broker for one attack: started on an empty directory with the attack's settings, and ended with it.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ringmill_net::Piece;
use ringmill_net::client::{ConnectOptions, Connection, NewTopic};
use tempfile::TempDir;

use super::attacks::frames::{LARGE_TOPIC, WIDE_PARTITIONS, WIDE_TOPIC};
use super::attacks::{Attack, Needs};
use super::honest::{self, produce_request};
use super::watch::Watched;

/// How long a start may take.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// Batches of a MiB in the large topic.
const LARGE_BATCHES: usize = 8;

/// Sets the limit for open files and becomes the program, which is given behind it.
const WITH_OPEN_FILES: &str = "ulimit -n \"$0\" && exec \"$@\"";

/// The process; killed when it is dropped.
pub(super) struct Broker {
    child: Child,
    dir: TempDir,
    pub(super) address: SocketAddr,
}

impl Broker {
    /// Starts it for `attack`, its data under `place`, and makes the topics.
    pub(super) fn start(binary: &Path, place: &Path, attack: &Attack, open_files: u64) -> Result<Broker, String> {
        let dir = tempfile::Builder::new().prefix("hostile").tempdir_in(place).map_err(|error| error.to_string())?;
        let log = File::create(dir.path().join("log")).map_err(|error| error.to_string())?;
        let mut command = Command::new("sh");
        command.args(["-c", WITH_OPEN_FILES]).arg(attack.open_files.unwrap_or(open_files).to_string()).arg(binary);
        command.args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--data-dir"]);
        command.arg(dir.path().join("data"));
        for setting in attack.settings {
            command.args(["--set", setting]);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let child = child.map_err(|error| format!("{}: {error}", binary.display()))?;
        let mut broker = Broker { child, dir, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        broker.address = broker.await_address()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        runtime.block_on(broker.prepare(attack.needs))?;
        Ok(broker)
    }

    /// The process as seen from outside.
    pub(super) fn watched(&self) -> Watched {
        Watched { pid: self.child.id(), log: self.log() }
    }

    /// The end of what it said.
    pub(super) fn last_words(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }

    fn log(&self) -> std::path::PathBuf {
        self.dir.path().join("log")
    }

    fn await_address(&mut self) -> Result<SocketAddr, String> {
        let deadline = Instant::now() + START_PATIENCE;
        while Instant::now() < deadline {
            let log = fs::read_to_string(self.log()).map_err(|error| error.to_string())?;
            let ready = log.lines().filter(|line| line.contains("\"ready\"") && line.ends_with('}'));
            let address = |line: &str| line.split_once("\"address\":\"")?.1.split('"').next()?.parse().ok();
            if let Some(address) = ready.filter_map(address).next() {
                return Ok(address);
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("the broker ended with {status}: {log}"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err("the broker did not get ready".to_owned())
    }

    async fn prepare(&self, needs: Needs) -> Result<(), String> {
        let refused = |error: ringmill_net::client::ClientError| error.to_string();
        let address = self.address.to_string();
        let connection = Connection::connect(&address, &ConnectOptions::default()).await.map_err(refused)?;
        let topic = |name: &str, partitions| NewTopic {
            name: name.to_owned(),
            partitions,
            replication_factor: 1,
            configs: Vec::new(),
        };
        connection.create_topic(&topic(honest::TOPIC, honest::PARTITIONS)).await.map_err(refused)?;
        match needs {
            Needs::Nothing => {}
            Needs::Wide => connection.create_topic(&topic(WIDE_TOPIC, WIDE_PARTITIONS)).await.map_err(refused)?,
            Needs::Large => {
                let strict = vec![("strict.records".to_owned(), "true".to_owned())];
                let large = NewTopic { configs: strict, ..topic(LARGE_TOPIC, 1) };
                connection.create_topic(&large).await.map_err(refused)?;
                let mut batch = ringmill_batch::BatchBuilder::new(ringmill_batch::Codec::None, None);
                batch.push(0, None, Some(&vec![7; 1_000_000]), &[]);
                let batch = batch.finish().freeze();
                let request = produce_request(LARGE_TOPIC, 0, batch.len(), 1);
                for _ in 0..LARGE_BATCHES {
                    let sent = connection.send(&request, 9, vec![Piece::Bytes(batch.clone())], 0).await;
                    sent.map_err(refused)?.answer().await.map_err(refused)?;
                }
            }
        }
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended by itself, which the measurement has noticed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
