//! Who leads which partition, and one connection to each broker that is needed.
//!
//! Topics and addresses are learnt from any broker that answers, and learnt anew when a request shows that they have changed.
//! Shared by producer and consumer; retrying and waiting are theirs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::admin::{Overview, TopicInfo};
use super::{ClientError, ConnectOptions, Connection};
use crate::wire::{ErrorCode, Uuid};

/// The brokers behind one or more bootstrap addresses.
#[derive(Debug)]
pub struct Cluster {
    bootstrap: Vec<String>,
    options: ConnectOptions,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    brokers: BTreeMap<i32, String>,
    topics: BTreeMap<String, Arc<TopicInfo>>,
    connections: BTreeMap<String, Arc<Connection>>,
}

impl Cluster {
    /// Connects to the first of `bootstrap` (comma-separated `host:port`s) that answers.
    ///
    /// # Errors
    /// The last address's error when none does.
    pub async fn connect(bootstrap: &str, options: ConnectOptions) -> Result<Cluster, ClientError> {
        let bootstrap = bootstrap.split(',').map(|address| with_port(address.trim())).collect();
        let cluster = Cluster { bootstrap, options, known: Mutex::default() };
        cluster.any().await?;
        Ok(cluster)
    }

    /// A connection to any broker.
    ///
    /// # Errors
    /// When none can be reached.
    pub async fn any(&self) -> Result<Arc<Connection>, ClientError> {
        let mut last = ClientError::Closed;
        let known: Vec<String> = self.lock().brokers.values().cloned().collect();
        for address in known.iter().chain(&self.bootstrap) {
            match self.connection(address).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// A connection to each broker that there is now.
    ///
    /// # Errors
    /// Of the connections.
    pub async fn brokers(&self) -> Result<Vec<Arc<Connection>>, ClientError> {
        let found = self.any().await?.overview(Some(&[]), false).await?.brokers;
        self.lock().brokers = found.iter().cloned().collect();
        let mut brokers = Vec::new();
        for (_, address) in found {
            brokers.push(self.connection(&address).await?);
        }
        Ok(brokers)
    }

    /// The topics among `names` that there are now, by their ids.
    pub(super) async fn names_of_ids(&self, names: &[&str]) -> Result<BTreeMap<Uuid, Arc<str>>, ClientError> {
        let overview = self.any().await?.overview(Some(names), false).await?;
        Ok(overview.topics.into_iter().map(|topic| (topic.id, Arc::from(topic.name))).collect())
    }

    /// The connection to `address`, made anew if the last one broke.
    pub(super) async fn connection(&self, address: &str) -> Result<Arc<Connection>, ClientError> {
        if let Some(connection) = self.lock().usable(address) {
            return Ok(connection);
        }
        let connection = Arc::new(Connection::connect(address, &self.options).await?);
        let mut known = self.lock();
        // Somebody else may have connected meanwhile. Requests are under way on his connection, so that one stays.
        if let Some(first) = known.usable(address) {
            return Ok(first);
        }
        known.connections.insert(address.to_owned(), Arc::clone(&connection));
        Ok(connection)
    }

    /// A topic, from memory if it was asked for before and not [forgotten](Self::forget) since.
    ///
    /// # Errors
    /// Of the connection; `Refused` if there is no such topic (and it is not created, or `auto_create` is false).
    pub async fn topic(&self, name: &str, auto_create: bool) -> Result<Arc<TopicInfo>, ClientError> {
        let known = self.lock().topics.get(name).cloned();
        if let Some(topic) = known {
            return Ok(topic);
        }
        let Overview { brokers, topics, refused, .. } = self.any().await?.overview(Some(&[name]), auto_create).await?;
        let mut known = self.lock();
        known.brokers = brokers.into_iter().collect();
        match topics.into_iter().next() {
            Some(topic) => {
                let topic = Arc::new(topic);
                known.topics.insert(name.to_owned(), Arc::clone(&topic));
                Ok(topic)
            }
            None => Err(ClientError::Refused {
                what: format!("topic {name}"),
                code: refused.first().map_or(ErrorCode::UnknownTopicOrPartition, |(_, code)| *code),
                message: None,
            }),
        }
    }

    /// The node id of a partition's leader and a connection to it.
    ///
    /// # Errors
    /// Of the connection; `Refused` if there is no such partition, or it has no leader at present.
    pub async fn leader(&self, topic: &str, partition: i32) -> Result<(i32, Arc<Connection>), ClientError> {
        let refused = |code| ClientError::Refused { what: format!("{topic}-{partition}"), code, message: None };
        let info = self.topic(topic, false).await?;
        let found = info.partitions.iter().find(|each| each.index == partition);
        let leader = found.ok_or_else(|| refused(ErrorCode::UnknownTopicOrPartition))?.leader;
        let address = self.lock().brokers.get(&leader).cloned();
        let address = address.ok_or_else(|| refused(ErrorCode::LeaderNotAvailable))?;
        Ok((leader, self.connection(&address).await?))
    }

    /// Forgets what is known of a topic, after an answer that showed it to be out of date.
    pub fn forget(&self, topic: &str) {
        self.lock().topics.remove(topic);
    }

    /// No statement under this lock can leave the maps half changed, so a poisoned lock is still whole.
    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn usable(&self, address: &str) -> Option<Arc<Connection>> {
        self.connections.get(address).filter(|connection| connection.is_usable()).cloned()
    }
}

/// Kafka's port where none was given.
fn with_port(address: &str) -> String {
    let has_port = match address.rfind(']') {
        Some(bracket) => address[bracket..].contains(':'),
        None => address.matches(':').count() == 1,
    };
    match (has_port, address.contains(':') && !address.starts_with('[')) {
        (true, _) => address.to_owned(),
        (false, true) => format!("[{address}]:9092"),
        (false, false) => format!("{address}:9092"),
    }
}

#[cfg(test)]
mod tests {
    use super::with_port;

    #[test]
    fn the_port_may_be_left_out() {
        for (given, used) in [
            ("localhost", "localhost:9092"),
            ("localhost:19092", "localhost:19092"),
            ("::1", "[::1]:9092"),
            ("[::1]", "[::1]:9092"),
            ("[::1]:5", "[::1]:5"),
        ] {
            assert_eq!(with_port(given), used);
        }
    }
}
