//! InitProducerId (key 22): gives an idempotent producer its id. Ids come from a durable counter and never return.
//!
//! Transactions are not served: asking for a transactional producer is refused.

use ringmill_net::wire::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use ringmill_net::wire::{DecodeError, ErrorCode};
use ringmill_net::{Outcome, Request};

use super::{decode, respond};
use crate::config::alter::shorten;
use crate::core::Core;
use crate::metadata::MetadataError;

/// A new id, or a refusal.
pub(super) async fn answer(core: &Core, request: &Request) -> Result<Outcome, DecodeError> {
    let asked: InitProducerIdRequest<'_> = decode(request)?;
    let mut response =
        InitProducerIdResponse { producer_id: -1, producer_epoch: -1, ..InitProducerIdResponse::default() };
    if let Some(transactional_id) = asked.transactional_id {
        let transactional_id = shorten(transactional_id);
        tracing::info!(peer = %request.connection.peer, transactional_id, "refused: transactions are not served");
        response.error_code = ErrorCode::InvalidRequest.code();
    } else if (asked.producer_id == -1) != (asked.producer_epoch == -1) {
        tracing::info!(peer = %request.connection.peer, "refused: a producer id comes with its epoch, or neither");
        response.error_code = ErrorCode::InvalidRequest.code();
    } else {
        // A producer that comes with an id wants a newer epoch of it (KIP-360). A new id serves it as well: what it sent under
        // the old one has been answered or given up.
        match next_producer_id(core).await {
            Ok(producer_id) => (response.producer_id, response.producer_epoch) = (producer_id, 0),
            Err(error) => {
                tracing::error!(%error, "no producer id can be given");
                response.error_code = ErrorCode::KafkaStorageError.code();
            }
        }
    }
    Ok(respond(request, &response))
}

/// Ids are taken from the metadata in blocks, so that a new producer rarely waits for its sync; what is left of a block is lost when
/// the broker stops, never given twice.
async fn next_producer_id(core: &Core) -> Result<i64, MetadataError> {
    let shared = core.shared();
    let mut taken = shared.producer_ids.lock().await;
    if taken.is_empty() {
        *taken = shared.metadata.take_producer_ids().await?;
    }
    let id = taken.next();
    Ok(id.expect("a block that was just taken is not empty"))
}
