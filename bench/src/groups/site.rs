//! What all parts of a run share: the broker, the options, a runtime for what is not measured on threads of its own, and a name that no
//! other run has.

use std::cell::RefCell;
use std::future::Future;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::runtime::{Builder, Runtime};

use super::brokers::Brokers;
use super::options::GroupsOptions;
use crate::process_usage::ServerProcess;

/// Where the parts are measured.
pub(super) struct Site<'a> {
    pub(super) options: &'a GroupsOptions,
    pub(super) brokers: Arc<Brokers>,
    pub(super) server: Option<ServerProcess>,
    /// Begins the id of every group, so that what another run left behind does not matter.
    pub(super) tag: String,
    runtime: Runtime,
    leftover: RefCell<Option<String>>,
}

impl<'a> Site<'a> {
    pub(super) fn open(options: &'a GroupsOptions) -> Result<Site<'a>, String> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
        let brokers = Arc::new(runtime.block_on(Brokers::connect(&options.broker))?);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let tag = format!("ringmill-bench-{:x}", since.as_micros());
        let server = options.pid.map(|pid| ServerProcess { pid });
        Ok(Site { options, brokers, server, tag, runtime, leftover: RefCell::default() })
    }

    pub(super) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// A part is measured also where its groups cannot be removed behind it, but the reader should know.
    pub(super) fn note_leftover(&self, cleared: Result<(), String>) {
        if let Err(error) = cleared {
            self.leftover.borrow_mut().get_or_insert(error);
        }
    }

    /// The first group that stayed behind, and why.
    pub(super) fn leftover(&self) -> Option<String> {
        let why = self.leftover.borrow();
        why.as_ref().map(|why| format!("groups were left behind, their ids begin with {}: {why}", self.tag))
    }
}
