//! Commits and lookups, put down for the checker as they are sent and answered.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use ringmill_checker::Event;
use ringmill_net::wire::ErrorCode;
use tokio::time::timeout;

use super::Groups;
use super::calls::{Found, Part, Who};
use crate::client::Client;
use crate::life::Life;

/// Numbers commits; a commit's number is its offset, too, so that offsets ever grow.
#[derive(Debug, Default)]
pub(super) struct Commits {
    next: Cell<u32>,
}

impl Commits {
    fn take(&self) -> u32 {
        let number = self.next.get();
        self.next.set(number + 1);
        number
    }
}

impl Groups {
    /// Commits the next offsets of some partitions, and waits for an answer for so long: after that nobody knows. One result for each
    /// partition that the history knows.
    pub(super) async fn commit(
        &self,
        client: &Client,
        life: &Life,
        who: &Who<'_>,
        parts: &[Part],
        patience: Duration,
    ) -> io::Result<Vec<Result<(), ErrorCode>>> {
        let group = || who.group.to_owned();
        let (mut sent, mut offsets) = (Vec::new(), Vec::new());
        for part in parts {
            let Some(place) = self.topics.place(*part) else { continue };
            let (number, member) = (self.commits.take(), (!who.id.is_empty()).then(|| who.id.to_owned()));
            let (commit, offset, generation) = (u64::from(number), i64::from(number), who.generation);
            life.history.record(Event::CommitSent { group: group(), member, generation, commit, place, offset });
            sent.push((commit, place));
            offsets.push((*part, Found { offset, words: number.to_string() }));
        }
        if offsets.is_empty() {
            return Ok(Vec::new());
        }
        let Ok(results) = timeout(patience, client.commit(who, &offsets)).await else {
            life.history.count("commits not waited for");
            return Err(io::ErrorKind::TimedOut.into());
        };
        let results = results?;
        for (result, (commit, place)) in results.iter().zip(sent) {
            life.history.record(match result {
                Ok(()) => Event::Committed { group: group(), commit, place },
                Err(error) => Event::CommitRefused { group: group(), commit, place, code: error.code() },
            });
            life.history.count(if result.is_ok() { "offsets committed" } else { "commits refused" });
        }
        Ok(results)
    }

    /// Looks offsets up; how many there are.
    pub(super) async fn look(
        &self,
        client: &Client,
        life: &Life,
        who: &Who<'_>,
        parts: &[Part],
    ) -> io::Result<Result<usize, ErrorCode>> {
        let asked = life.history.now();
        let found = match client.offsets(who, parts).await? {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        let mut there = 0;
        for (part, found) in parts.iter().zip(found) {
            // Of a topic that leaves nothing is promised.
            let Some(place) = self.topics.place(*part).filter(|_| self.topics.stays(*part)) else { continue };
            let found = found.unwrap_or_else(|error| panic!("{place:?}: an offset is looked up, and there is {error}"));
            there += usize::from(found.is_some());
            let commit = found.as_ref().and_then(|found| found.words.parse().ok());
            let (group, offset) = (who.group.to_owned(), found.map(|found| found.offset));
            life.history.record(Event::CommitFound { group, place, asked, offset, commit });
        }
        Ok(Ok(there))
    }
}
