//! The heartbeats of members that have nothing new to say, over a connection that many members share.

use std::sync::Arc;

use ringmill_net::Piece;
use ringmill_net::wire::encode_request;
use ringmill_net::wire::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};
use ringmill_net::wire::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};

use super::options::Protocol;
use super::paced::{Requests, decode};
use crate::load::error_name;

/// The last version without tagged fields, which brokers have had since Kafka 2.3.
const CLASSIC_VERSION: i16 = 3;
/// Every broker that has this request at all knows this one.
const CONSUMER_VERSION: i16 = 0;

/// Who sends a heartbeat, and as of when.
#[derive(Clone, Debug)]
pub(super) struct Beat {
    pub(super) group: Arc<str>,
    pub(super) member: String,
    /// The generation, or the member's epoch.
    pub(super) epoch: i32,
}

/// The members of one connection, each in turn.
pub(super) struct Heartbeats {
    protocol: Protocol,
    beats: Vec<Beat>,
    next: usize,
    /// Whose answer is next.
    answered: usize,
}

impl Heartbeats {
    /// At least one member is needed.
    pub(super) fn new(protocol: Protocol, beats: Vec<Beat>) -> Heartbeats {
        Heartbeats { protocol, beats, next: 0, answered: 0 }
    }
}

impl Requests for Heartbeats {
    fn next(&mut self, correlation_id: i32) -> Vec<Piece> {
        let Beat { group, member, epoch } = &self.beats[self.next];
        self.next = (self.next + 1) % self.beats.len();
        let client = Some("ringmill-bench");
        match self.protocol {
            Protocol::Classic => {
                let request = HeartbeatRequest {
                    group_id: group,
                    generation_id: *epoch,
                    member_id: member,
                    group_instance_id: None,
                };
                encode_request(&request, CLASSIC_VERSION, correlation_id, client, Vec::new())
            }
            Protocol::Consumer => {
                let request = ConsumerGroupHeartbeatRequest {
                    group_id: group,
                    member_id: member,
                    member_epoch: *epoch,
                    ..Default::default()
                };
                encode_request(&request, CONSUMER_VERSION, correlation_id, client, Vec::new())
            }
        }
    }

    fn confirmed(&mut self, answer: &[u8]) -> Result<u64, String> {
        let beat = self.answered;
        self.answered = (beat + 1) % self.beats.len();
        let (code, epoch) = match self.protocol {
            Protocol::Classic => {
                (decode::<HeartbeatResponse>(answer, CLASSIC_VERSION)?.error_code, self.beats[beat].epoch)
            }
            Protocol::Consumer => {
                let response: ConsumerGroupHeartbeatResponse<'_> = decode(answer, CONSUMER_VERSION)?;
                (response.error_code, response.member_epoch)
            }
        };
        if code != 0 {
            return Err(format!("heartbeat of group {}: {}", self.beats[beat].group, error_name(code)));
        }
        self.beats[beat].epoch = epoch;
        Ok(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_take_turns_and_an_error_names_the_group_whose_answer_it_is() {
        let beat = |group: &str| Beat { group: group.into(), member: "m".to_owned(), epoch: 1 };
        let mut heartbeats = Heartbeats::new(Protocol::Classic, vec![beat("one"), beat("two")]);
        for (correlation_id, group) in (0..).zip(["one", "two", "one"]) {
            let pieces = heartbeats.next(correlation_id);
            let [Piece::Bytes(frame)] = &pieces[..] else { panic!("{pieces:?}") };
            assert!(frame.windows(3).any(|part| part == group.as_bytes()), "{frame:?}");
        }
        // Throttle time and error code.
        assert_eq!(heartbeats.confirmed(&[0, 0, 0, 0, 0, 0]), Ok(1));
        let refused = heartbeats.confirmed(&[0, 0, 0, 0, 0, 25]).unwrap_err();
        assert!(refused.contains("two") && refused.contains("UNKNOWN_MEMBER_ID"), "{refused}");
    }
}
