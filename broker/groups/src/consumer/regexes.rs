//! Subscriptions by a regular expression: checked, matched with the names of topics, and matched again when those change.
//!
//! The syntax is RE2's, as in Kafka (KIP-848): matching takes linear time. An expression means the topics whose whole name it matches;
//! internal topics are never meant. `\w` and its like mean ASCII letters, as in RE2; names of topics have no others.

use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder};
use ringmill_net::wire::ErrorCode;

use super::ConsumerGroup;
use super::limits::{REGEX_BYTES_MAX, REGEX_PROGRAM_BYTES_MAX, REGEX_REFRESH_MIN_MS};
use crate::answer::Refused;
use crate::context::Context;
use crate::record::{ConsumerPart, ResolvedRegex};
use crate::topics::Topics;

/// Topics of the broker's own.
const INTERNAL_PREFIXES: [&str; 2] = ["__consumer_offsets", "__transaction_state"];

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

/// The topics that an expression means.
fn matches(regex: &Regex, topics: &dyn Topics) -> Vec<Arc<str>> {
    let external = |name: &&str| !INTERNAL_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    topics.names().filter(external).filter(|name| regex.is_match(name.as_bytes())).map(Arc::from).collect()
}

impl ConsumerGroup {
    /// Topics were made, deleted or given more partitions.
    pub(crate) fn on_topics_changed(&mut self, cx: &mut Context<'_>) {
        if !self.tables.regex_users.is_empty() && self.regexes_due_ms.is_none() {
            let rest_ends = self.regexes_matched_ms.map(|at| at.saturating_add(REGEX_REFRESH_MIN_MS));
            self.regexes_due_ms = Some(rest_ends.unwrap_or(0).max(cx.now.monotonic_ms));
        }
        let matched = self.match_due_regexes(cx);
        let known = self.tables.epoch.map(|epoch| epoch.metadata_hash);
        if !self.is_empty() && (matched || known != Some(self.metadata_hash(cx.topics))) {
            self.raise_epoch(cx);
        }
    }

    /// Matches all expressions again if that is due; says whether any means other topics now.
    pub(super) fn match_due_regexes(&mut self, cx: &mut Context<'_>) -> bool {
        if self.regexes_due_ms.is_none_or(|due_ms| due_ms > cx.now.monotonic_ms) {
            return false;
        }
        self.regexes_due_ms = None;
        self.regexes_matched_ms = Some(cx.now.monotonic_ms);
        let expressions: Vec<Arc<str>> = self.tables.regex_users.keys().cloned().collect();
        let changed = expressions.iter().filter(|expression| self.resolve(cx, expression)).count();
        changed > 0
    }

    /// Finds the topics that an expression means; says whether they are others than before.
    pub(super) fn resolve(&mut self, cx: &mut Context<'_>, expression: &Arc<str>) -> bool {
        // It was compiled when it came. Should a newer version of the crate refuse it, it means nothing.
        let topics = compile(expression).map(|regex| matches(&regex, cx.topics)).unwrap_or_default();
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

    #[test]
    fn what_is_no_expression_or_too_large_is_refused_in_words() {
        for expression in ["(", "a)|(b", "(?<!a)b", r"(a)\1", r"((\w{100}){100}){1000}", "(?x)a#", &"a".repeat(1_025)] {
            let refused = compile(expression).expect_err(expression);
            assert_eq!(refused.code, ErrorCode::InvalidRegularExpression, "{refused:?}");
        }
    }
}
