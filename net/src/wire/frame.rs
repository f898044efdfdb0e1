//! Headers and whole frames: reading a request's header, and putting header, body and spliced records together to be sent.
//!
//! The frame's length is fixed before its first byte leaves, because a file range cannot be counted while it is being sent. Splitting
//! the incoming stream into frames is `connection`'s part.

use crate::wire::api::{Api, ApiKey};
use crate::wire::reader::{DecodeError, Reader};
use crate::wire::schema::Message;
use crate::wire::writer::{Sink, Sizer, Writer};
use crate::{Piece, Response};
use bytes::BytesMut;
use std::sync::Arc;

/// Bytes of the length that stands before every frame; it does not count itself.
pub const LENGTH_BYTES: usize = 4;
/// The shortest request: key, version, correlation id and a null client id.
pub const REQUEST_BYTES_MIN: usize = 10;

/// What stands before every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// As it was sent: not every number is an [`ApiKey`].
    pub api_key: i16,
    /// As it was sent: not every version is served.
    pub api_version: i16,
    /// Comes back in the response.
    pub correlation_id: i32,
    /// The name that the client gives itself.
    pub client_id: Option<Arc<str>>,
}

impl RequestHeader {
    /// Reads the header of a frame (without its length), and says where the body begins.
    ///
    /// The header of an API or version that is not served is read too, so that its sender can be named; its body is then not to be read.
    ///
    /// # Errors
    /// When the frame ends too early or the client id is no string.
    pub fn parse(frame: &[u8]) -> Result<(RequestHeader, usize), DecodeError> {
        let mut reader = Reader::new(frame);
        let named = |field| move |error: DecodeError| error.in_field("RequestHeader", field);
        let api_key = reader.i16().map_err(named("api_key"))?;
        let api_version = reader.i16().map_err(named("api_version"))?;
        let correlation_id = reader.i32().map_err(named("correlation_id"))?;
        // The client id keeps its old form in flexible headers, so that it can be read before the version is understood.
        let client_id = reader.string(false).map_err(named("client_id"))?.map(Arc::from);
        if Api::served(api_key).is_some_and(|api| api.serves(api_version) && api.is_flexible(api_version)) {
            reader.tagged_fields(|_, _| Ok(false)).map_err(named("tagged fields"))?;
        }
        Ok((RequestHeader { api_key, api_version, correlation_id, client_id }, reader.position()))
    }

    /// The API, if it is one of Kafka's.
    #[must_use]
    pub fn api(&self) -> Option<ApiKey> {
        ApiKey::from_code(self.api_key)
    }
}

/// A frame's header, for [`assemble`].
enum Header<'a> {
    Request { key: ApiKey, version: i16, correlation_id: i32, client_id: Option<&'a str>, flexible: bool },
    Response { correlation_id: i32, flexible: bool },
}

impl Header<'_> {
    fn write(&self, sink: &mut impl Sink) {
        let flexible = match *self {
            Header::Request { key, version, correlation_id, client_id, flexible } => {
                sink.put(&key.code().to_be_bytes());
                sink.put(&version.to_be_bytes());
                sink.put(&correlation_id.to_be_bytes());
                sink.put_string(client_id, false);
                flexible
            }
            Header::Response { correlation_id, flexible } => {
                sink.put(&correlation_id.to_be_bytes());
                flexible
            }
        };
        if flexible {
            sink.put_unsigned_varint(0);
        }
    }
}

/// A response's whole frame. `records` are the pieces for the message's records fields, in order; an empty records field takes none.
///
/// # Panics
/// When the pieces and the message's records fields do not have the same lengths, when the version is not in the table, or when
/// the frame would pass 2 GiB: the caller made all three.
#[must_use]
pub fn encode_response<'a, M: Message<'a>>(
    message: &M,
    version: i16,
    correlation_id: i32,
    records: Vec<Piece>,
) -> Response {
    // The client cannot know before ApiVersions whether the broker understands flexible headers.
    let flexible = version >= M::FLEXIBLE_FROM && M::KEY != ApiKey::ApiVersions;
    Response::new(assemble(&Header::Response { correlation_id, flexible }, message, version, records))
}

/// A request's whole frame; see [`encode_response`].
///
/// # Panics
/// As [`encode_response`].
#[must_use]
pub fn encode_request<'a, M: Message<'a>>(
    message: &M,
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
    records: Vec<Piece>,
) -> Vec<Piece> {
    let flexible = version >= M::FLEXIBLE_FROM;
    assemble(&Header::Request { key: M::KEY, version, correlation_id, client_id, flexible }, message, version, records)
}

fn assemble<'a>(header: &Header<'_>, message: &impl Message<'a>, version: i16, records: Vec<Piece>) -> Vec<Piece> {
    let mut size = Sizer::default();
    header.write(&mut size);
    message.encode(&mut size, version);
    let length = i32::try_from(size.total_bytes()).expect("a frame holds less than 2 GiB");

    let mut writer = Writer::with_capacity(LENGTH_BYTES + size.own_bytes);
    writer.put(&length.to_be_bytes());
    header.write(&mut writer);
    message.encode(&mut writer, version);
    assert_eq!(writer.bytes.len(), LENGTH_BYTES + size.own_bytes, "a message is as long as it was counted");
    splice(writer, records)
}

/// Cuts the message's bytes at the splices and puts the pieces between them.
fn splice(writer: Writer, records: Vec<Piece>) -> Vec<Piece> {
    let Writer { mut bytes, splices } = writer;
    let mut pieces = Vec::with_capacity(records.len() + splices.len() + 1);
    let mut records = records.into_iter().filter(|piece| piece.length() > 0);
    let mut taken = 0;
    for splice in splices {
        push_bytes(&mut pieces, bytes.split_to(splice.at - taken));
        taken = splice.at;
        let mut missing = splice.length as u64;
        while missing > 0 {
            let piece = records.next().expect("a records field has its pieces");
            missing = missing.checked_sub(piece.length()).expect("a piece lies in one records field");
            pieces.push(piece);
        }
    }
    assert!(records.next().is_none(), "every piece has a records field");
    push_bytes(&mut pieces, bytes);
    pieces
}

fn push_bytes(pieces: &mut Vec<Piece>, bytes: BytesMut) {
    if !bytes.is_empty() {
        pieces.push(Piece::Bytes(bytes.freeze()));
    }
}
