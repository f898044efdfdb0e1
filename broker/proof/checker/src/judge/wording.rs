//! Names of things in the words of a violation.

use super::Judge;
use super::place::{Fact, How};
use crate::event::Place;

impl Judge {
    /// `name-partition`, as the broker's directories are called.
    pub(super) fn name(&self, place: Place) -> String {
        let name = self.topics.get(&place.topic).map_or("an unknown topic", |topic| &topic.name);
        format!("{name}-{}", place.partition)
    }

    pub(super) fn name_made(producer: u32, number: u64) -> String {
        format!("record {number} of producer {producer}")
    }

    pub(super) fn name_record(&self, place: Place, offset: i64, fact: &Fact) -> String {
        let how = match fact.how {
            How::Acknowledged => "was acknowledged",
            How::Seen => "was seen",
        };
        let made = Judge::name_made(fact.producer, fact.number);
        format!("{} offset {offset} {how} as {made} in line {}", self.name(place), fact.line)
    }
}
