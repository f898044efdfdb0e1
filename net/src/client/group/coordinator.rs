//! Which broker keeps a group, and questions to it that are asked again while it cannot answer.
//!
//! A broker that has just started loads its groups first, and a group may move: both are told by errors that pass, and waited out here.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::super::settings::unanswered;
use super::super::{ClientError, Cluster, Connection};
use crate::wire::ErrorCode;
use crate::wire::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse, GROUP_KEY_TYPE};

/// How long a coordinator is looked for, or waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries.
const BACKOFF: Duration = Duration::from_millis(100);

impl Cluster {
    /// The broker that keeps a group, as any broker says it now.
    ///
    /// # Errors
    /// Of the connections; `Refused` with the broker's reason.
    pub async fn coordinator(&self, group: &str) -> Result<Arc<Connection>, ClientError> {
        let request = FindCoordinatorRequest { key: group, key_type: GROUP_KEY_TYPE, coordinator_keys: vec![group] };
        let answer = self.any().await?.call(&request).await?;
        let response: FindCoordinatorResponse<'_> = answer.decode()?;
        let what = || format!("the coordinator of group {group}");
        // From version 4 on the answers stand in a list.
        let (code, message, host, port) = match response.coordinators.first() {
            Some(found) => (found.error_code, found.error_message, found.host, found.port),
            None if answer.version() >= 4 => return Err(unanswered(what())),
            None => (response.error_code, response.error_message, response.host, response.port),
        };
        ClientError::check(code, message, what)?;
        let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
        self.connection(&format!("{host}:{port}")).await
    }

    /// Asks a group's coordinator, and asks again while it is not there, not known, or still loading.
    pub(super) async fn ask_coordinator<T>(
        &self,
        group: &str,
        question: impl AsyncFn(&Connection) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        patiently(async || question(&*self.coordinator(group).await?).await).await
    }
}

/// Asks again while a coordinator may yet answer.
pub(super) async fn patiently<T>(question: impl AsyncFn() -> Result<T, ClientError>) -> Result<T, ClientError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match question().await {
            Err(error) if may_pass(&error) && Instant::now() + BACKOFF < deadline => sleep(BACKOFF).await,
            answered => return answered,
        }
    }
}

/// Whether a coordinator may answer later. A connection that cannot be made is nothing that a command waits for.
fn may_pass(error: &ClientError) -> bool {
    match error {
        ClientError::Refused { code, .. } => matches!(
            code,
            ErrorCode::CoordinatorNotAvailable | ErrorCode::CoordinatorLoadInProgress | ErrorCode::NotCoordinator
        ),
        ClientError::Disconnected { .. } => true,
        _ => false,
    }
}
