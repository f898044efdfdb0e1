//! As many open files as the system allows: the usual limit of 1024 is below what a thousand connections take.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For 10,000 idle connections, or 1,000 busy ones at two descriptors each, and a little beside them.
const ENOUGH: u64 = 10_100;

/// Raises this process's own limit as far as it may, and says what it is now. Brokers that it starts have the same, and raise theirs
/// themselves.
pub(crate) fn allow_all() -> u64 {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where it cannot be raised it stays what it was, which the answer tells.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// What to say where so many are not enough for every row.
pub(crate) fn lacking(allowed: u64) -> Option<String> {
    (allowed < ENOUGH).then(|| {
        format!(
            "a process may have {allowed} open files here, too few for the rows with most connections: `ulimit -Hn {ENOUGH}` as root, or \
             LimitNOFILE in a service, allows more"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_too_few_are_worth_a_word() {
        assert_eq!((lacking(20_000), lacking(u64::MAX)), (None, None));
        assert!(lacking(1024).is_some_and(|said| said.contains("1024 open files")));
        assert!(allow_all() > 0);
    }
}
