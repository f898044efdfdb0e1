//! ListGroups, which is about all groups: which of them are wanted, and a list that is told in parts.
//!
//! Filters go to the shard, so that only what is wanted leaves it. States and types are compared without regard to capital letters, and
//! one that is not known fits no group, both as in Kafka.

use std::sync::Arc;

use crate::answer::Listed;

/// The states that groups can be in, in Kafka's words.
const STATES: [&str; 7] =
    ["Empty", "PreparingRebalance", "CompletingRebalance", "Assigning", "Reconciling", "Stable", "Dead"];

/// The types of groups, in Kafka's words.
const TYPES: [&str; 2] = ["classic", "consumer"];

/// About what an entry takes in memory and in the message beside its words.
const LISTED_BYTES: usize = 128;

/// A shard's part of ListGroups.
#[derive(Clone, Debug, Default)]
pub struct ListGroups {
    /// Which groups.
    pub wanted: ListFilter,
    /// Those whose ids come after this one, where an earlier answer ended; `None`: from the first on.
    pub after: Option<Arc<str>>,
}

/// Which groups are listed.
#[derive(Clone, Debug, Default)]
pub struct ListFilter {
    /// In one of these states; `None`: in any.
    states: Option<Vec<&'static str>>,
    /// Of one of these types; `None`: of any.
    types: Option<Vec<&'static str>>,
}

/// A part of the list of all.
#[derive(Clone, Debug, Default)]
pub struct ListedPart {
    /// In the order of their ids.
    pub groups: Vec<Listed>,
    /// Where to go on; `None`: there are no more.
    pub go_on_after: Option<Arc<str>>,
}

impl ListFilter {
    /// Groups in one of these states and of one of these types; a list without a word lets all through.
    #[must_use]
    pub fn new(states: &[&str], types: &[&str]) -> ListFilter {
        ListFilter { states: known(states, &STATES), types: known(types, &TYPES) }
    }

    pub(crate) fn fits(&self, state: &str, group_type: &str) -> bool {
        let fits = |wanted: &Option<Vec<&str>>, word| wanted.as_ref().is_none_or(|wanted| wanted.contains(&word));
        fits(&self.types, group_type) && fits(&self.states, state)
    }
}

/// Those of the words that are asked for: a request has thousands, and each group is compared with all.
fn known(asked: &[&str], words: &[&'static str]) -> Option<Vec<&'static str>> {
    let is_asked = |word: &&&str| asked.iter().any(|asked| asked.eq_ignore_ascii_case(word));
    (!asked.is_empty()).then(|| words.iter().filter(is_asked).copied().collect())
}

impl Listed {
    /// About what it takes in memory and in the message.
    #[must_use]
    pub fn bytes(&self) -> usize {
        LISTED_BYTES + self.group.len() + self.protocol_type.len()
    }
}

#[cfg(test)]
mod tests {
    use super::ListFilter;

    #[test]
    fn no_filter_lets_all_through_and_an_unknown_word_nobody() {
        let fits = |states: &[&str], state| ListFilter::new(states, &[]).fits(state, "classic");
        assert!(fits(&[], "Stable") && fits(&["sTABLE"], "Stable") && fits(&["Dead", "empty"], "Empty"));
        assert!(!fits(&["Stabl"], "Stable") && !fits(&[""], "Stable") && !fits(&["Dead", "Empty"], "Stable"));
        let of_type = |types: &[&str]| ListFilter::new(&[], types).fits("Empty", "consumer");
        assert!(of_type(&[]) && of_type(&["CONSUMER"]) && !of_type(&["classic"]) && !of_type(&["share"]));
    }
}
