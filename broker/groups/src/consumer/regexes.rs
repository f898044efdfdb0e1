//! Subscriptions by a regular expression: checked, matched with the names of topics, and matched again when those change.
//!
//! The syntax is RE2's, as in Kafka (KIP-848): matching takes linear time. An expression means the topics whose whole name it matches;
//! internal topics are never meant. `\w` and its like mean ASCII letters, as in RE2; names of topics have no others.
//!
//! When topics change, every group of a shard matches all of its expressions. A step takes a bounded part of that; what is left is due at once,
//! in a step of its own, so that others have their turn between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder};
use ringmill_net::wire::ErrorCode;

use super::ConsumerGroup;
use super::limits::{
    REGEX_BYTES_MAX, REGEX_COMPILE_PAIRS, REGEX_PROGRAM_BYTES_MAX, REGEX_REFRESH_MIN_MS, REGEX_SHARED_NAMES_MAX,
    REGEX_STEP_PAIRS_MAX,
};
use crate::answer::Refused;
use crate::context::Context;
use crate::record::{ConsumerPart, ResolvedRegex};
use crate::topics::Topics;

/// Topics of the broker's own.
const INTERNAL_TOPICS: [&str; 2] = ["__consumer_offsets", "__transaction_state"];

/// Compiles an expression of a client's.
pub(super) fn compile(expression: &str) -> Result<Regex, Refused> {
    let refused = |why: String| Refused {
        code: ErrorCode::InvalidRegularExpression,
        why: format!("SubscribedTopicRegex is not a valid regular expression: {why}"),
    };
    if expression.len() > REGEX_BYTES_MAX {
        return Err(refused(format!("it has {} bytes, the limit is {REGEX_BYTES_MAX}", expression.len())));
    }
    let build = |pattern: &str| {
        let mut builder = RegexBuilder::new(pattern);
        builder.unicode(false).size_limit(REGEX_PROGRAM_BYTES_MAX).dfa_size_limit(REGEX_PROGRAM_BYTES_MAX);
        builder.build().map_err(|error| refused(error.to_string()))
    };
    // First alone: `a)|(b` is none, although it would be one between brackets.
    build(expression)?;
    build(&format!(r"\A(?:{expression})\z"))
}

/// The topics that an expression means, and with how many names it was matched.
fn meaning(expression: &str, topics: &dyn Topics) -> (Vec<Arc<str>>, usize) {
    // It was compiled when it came. Should a newer version of the crate refuse it, it means nothing.
    let Ok(regex) = compile(expression) else { return (Vec::new(), 0) };
    let is_internal = |name: &str| INTERNAL_TOPICS.contains(&name);
    let mut names = 0;
    let counted = topics.names().inspect(|_| names += 1);
    let meant = counted.filter(|name| !is_internal(name) && regex.is_match(name.as_bytes())).map(Arc::from).collect();
    (meant, names)
}

/// What a step may still match, and what steps before it have found: groups of a shard often have the same expressions.
#[derive(Debug)]
pub(crate) struct Matching {
    /// Pairs of an expression and a topic's name that this step may still match. The last expression may go beyond.
    pairs_left: usize,
    has_matched: bool,
    has_put_off: bool,
    /// What expressions mean, until topics change or all groups know.
    found: BTreeMap<Arc<str>, Vec<Arc<str>>>,
    /// The sum of the lengths in `found`.
    found_names: usize,
}

impl Default for Matching {
    fn default() -> Matching {
        Matching {
            pairs_left: REGEX_STEP_PAIRS_MAX,
            has_matched: false,
            has_put_off: false,
            found: BTreeMap::new(),
            found_names: 0,
        }
    }
}

impl Matching {
    /// Another step begins.
    pub(crate) fn begin_step(&mut self) {
        if self.has_matched && !self.has_put_off {
            // Every group is through.
            self.forget();
        }
        (self.pairs_left, self.has_matched, self.has_put_off) = (REGEX_STEP_PAIRS_MAX, false, false);
    }

    /// Topics have changed: what was found is no longer true.
    pub(crate) fn forget(&mut self) {
        self.found.clear();
        self.found_names = 0;
    }

    /// More groups are to come that may have the same expressions.
    pub(crate) fn keep_found(&mut self) {
        self.has_put_off = true;
    }

    /// The topics that an expression means; none if this step has matched as much as it may.
    fn topics(&mut self, expression: &Arc<str>, topics: &dyn Topics) -> Option<Vec<Arc<str>>> {
        if self.pairs_left == 0 {
            self.has_put_off = true;
            return None;
        }
        self.has_matched = true;
        if let Some(found) = self.found.get(expression) {
            self.pairs_left = self.pairs_left.saturating_sub(1 + found.len());
            return Some(found.clone());
        }
        let (found, names) = meaning(expression, topics);
        self.pairs_left = self.pairs_left.saturating_sub(REGEX_COMPILE_PAIRS + names);
        if self.found_names + found.len() <= REGEX_SHARED_NAMES_MAX {
            self.found_names += found.len();
            self.found.insert(Arc::clone(expression), found.clone());
        }
        Some(found)
    }
}

/// How far a group has come with matching its expressions anew.
#[derive(Clone, Debug, Default)]
pub(super) struct Round {
    /// Those that wait for a later step.
    left: BTreeSet<Arc<str>>,
    /// Whether any means other topics than before.
    changed: bool,
    /// Topics have changed since it began: those that were matched before have to be once more.
    outdated: bool,
}

impl ConsumerGroup {
    /// Topics were made, deleted or given more partitions.
    pub(crate) fn on_topics_changed(&mut self, cx: &mut Context<'_>) {
        if !self.tables.regex_users.is_empty() && self.regexes_due_ms.is_none() {
            self.regexes_due_ms = Some(self.regexes_rest_ends_ms().max(cx.now.monotonic_ms));
        }
        self.regexes_round.outdated = !self.regexes_round.left.is_empty();
        let matched = self.match_due_regexes(cx);
        let known = self.tables.epoch.map(|epoch| epoch.metadata_hash);
        if !self.is_empty() && (matched || known != Some(self.metadata_hash(cx.topics))) {
            self.raise_epoch(cx);
        }
    }

    /// Expressions are not matched again before this.
    fn regexes_rest_ends_ms(&self) -> u64 {
        self.regexes_matched_ms.map_or(0, |at| at.saturating_add(REGEX_REFRESH_MIN_MS))
    }

    /// Matches expressions again if that is due, as many as this step may; the rest stays due. Once all are, says whether any means other
    /// topics now: members would share anew for each part otherwise.
    pub(super) fn match_due_regexes(&mut self, cx: &mut Context<'_>) -> bool {
        if self.regexes_due_ms.is_none_or(|due_ms| due_ms > cx.now.monotonic_ms) {
            return false;
        }
        if self.regexes_round.left.is_empty() {
            self.regexes_round = Round { left: self.tables.regex_users.keys().cloned().collect(), ..Round::default() };
            self.regexes_matched_ms = Some(cx.now.monotonic_ms);
        }
        while let Some(expression) = self.regexes_round.left.first().cloned() {
            if self.tables.regex_users.contains_key(&expression) {
                let Some(topics) = cx.matching.topics(&expression, cx.topics) else { return false };
                self.regexes_round.changed |= self.set_meaning(cx, &expression, topics);
            }
            self.regexes_round.left.remove(&expression);
        }
        let round = std::mem::take(&mut self.regexes_round);
        self.regexes_due_ms = round.outdated.then(|| self.regexes_rest_ends_ms().max(cx.now.monotonic_ms + 1));
        round.changed
    }

    /// Finds the topics that an expression means which is new to the group.
    pub(super) fn resolve(&mut self, cx: &mut Context<'_>, expression: &Arc<str>) {
        let (topics, _) = meaning(expression, cx.topics);
        self.set_meaning(cx, expression, topics);
    }

    /// Says whether these topics are others than before.
    fn set_meaning(&mut self, cx: &mut Context<'_>, expression: &Arc<str>, topics: Vec<Arc<str>>) -> bool {
        if self.tables.regexes.get(expression).is_some_and(|known| known.topics == topics) {
            return false;
        }
        let value = Some(ResolvedRegex { topics, version: 0, timestamp_ms: cx.now.wall_ms });
        self.write(cx, ConsumerPart::Regex { regex: Arc::clone(expression), value });
        true
    }

    /// Removes what an expression means, once nobody has it any more.
    pub(super) fn forget_unused(&mut self, cx: &mut Context<'_>, expression: &Arc<str>) {
        if !self.tables.regex_users.contains_key(expression) && self.tables.regexes.contains_key(expression) {
            self.write(cx, ConsumerPart::Regex { regex: Arc::clone(expression), value: None });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_meant(expression: &str, name: &str) -> bool {
        compile(expression).unwrap().is_match(name.as_bytes())
    }

    #[test]
    fn an_expression_means_whole_names() {
        assert!(is_meant("a|ab", "ab") && is_meant("logs-.*", "logs-1") && is_meant("^a$", "a"));
        assert!(!is_meant("logs", "logs-1") && !is_meant("logs", "my-logs") && !is_meant("", "a"));
    }

    struct Names(&'static [&'static str]);

    impl Topics for Names {
        fn find(&self, _: &str) -> Option<(crate::TopicId, i32)> {
            None
        }
        fn name(&self, _: &crate::TopicId) -> Option<&str> {
            None
        }
        fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
            Box::new(self.0.iter().copied())
        }
    }

    /// A copy of an internal topic is a topic like any other.
    #[test]
    fn internal_topics_are_never_meant_and_those_that_begin_like_them_are() {
        let names = Names(&["__consumer_offsets", "__consumer_offsets_copy", "__transaction_state", "a"]);
        let (meant, _) = meaning(".*", &names);
        assert_eq!(meant.iter().map(|name| &**name).collect::<Vec<_>>(), ["__consumer_offsets_copy", "a"]);
    }

    #[test]
    fn what_is_no_expression_or_too_large_is_refused_in_words() {
        for expression in ["(", "a)|(b", "(?<!a)b", r"(a)\1", r"((\w{100}){100}){1000}", "(?x)a#", &"a".repeat(1_025)] {
            let refused = compile(expression).expect_err(expression);
            assert_eq!(refused.code, ErrorCode::InvalidRegularExpression, "{refused:?}");
        }
    }
}
