//! The topics that a comparison leaves on a broker: asked what their answers promise, and deleted when all is done.

use ringmill_net::client::{ClientError, Cluster, ConnectOptions};
use ringmill_net::wire::ErrorCode;
use tokio::runtime::{Builder, Runtime};

use crate::durability;

use super::contender::Contender;
use super::options::Load;

/// A broker's side of the comparison; blocks its caller.
pub(super) struct Topics<'a> {
    contender: &'a Contender,
    runtime: Runtime,
    cluster: Cluster,
}

impl Topics<'_> {
    pub(super) fn connect(contender: &Contender) -> Result<Topics<'_>, String> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
        let options = ConnectOptions { client_id: "ringmill-bench".to_owned(), ..ConnectOptions::default() };
        let cluster = runtime.block_on(Cluster::connect(&contender.address, options));
        let cluster = cluster.map_err(|error| format!("{}: {error}", contender.name))?;
        Ok(Topics { contender, runtime, cluster })
    }

    /// What an answer of the broker means for a record, by the settings of a topic that was loaded.
    pub(super) fn durability(&self) -> Result<String, String> {
        let settings = self.runtime.block_on(async {
            let broker = self.cluster.any().await?;
            let mut found = Vec::new();
            for load in Load::WRITTEN {
                match broker.topic_settings(&self.contender.topic(load)).await {
                    Ok(settings) => {
                        found = settings;
                        break;
                    }
                    Err(ClientError::Refused { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(found)
        });
        let settings = settings.map_err(|error: ClientError| format!("{}: {error}", self.contender.name))?;
        Ok(durability::promised_by(&settings).to_owned())
    }

    /// Deletes what the loads wrote.
    pub(super) fn delete(&self) -> Result<(), String> {
        let deleted = self.runtime.block_on(async {
            let broker = self.cluster.any().await?;
            for load in Load::WRITTEN {
                match broker.delete_topic(&self.contender.topic(load)).await {
                    Ok(()) | Err(ClientError::Refused { code: ErrorCode::UnknownTopicOrPartition, .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        });
        deleted.map_err(|error: ClientError| format!("{}: {error}", self.contender.name))
    }
}
