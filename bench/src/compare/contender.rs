//! A broker of a comparison, as it stands on the command line, and the loads that it gets, as they would stand there.

use super::options::{CompareOptions, Load};
use crate::load::Peer;

/// A broker to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) pid: Option<u32>,
    /// What its answers promise, in the user's words; else the topic's settings tell.
    pub(crate) durability: Option<String>,
    /// Settings of its topics.
    pub(crate) settings: Vec<(String, String)>,
}

/// Reads `NAME=ADDRESS[,pid=N][,durability=WORD][,SETTING=VALUE]...`.
///
/// # Errors
/// What is missing, or of the wrong form.
pub(crate) fn parse(text: &str) -> Result<Contender, String> {
    let (name, rest) = text.split_once('=').ok_or("a broker is given as NAME=ADDRESS[,pid=N][,SETTING=VALUE]...")?;
    // It becomes part of a topic's name.
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(plain) {
        return Err(format!("`{name}` is no name: 1 to {NAME_BYTES_MAX} letters, digits, - and _"));
    }
    let mut parts = rest.split(',');
    let address = parts.next().filter(|address| address.contains(':')).ok_or("an address is HOST:PORT")?;
    let mut contender = Contender {
        name: name.to_owned(),
        address: address.to_owned(),
        pid: None,
        durability: None,
        settings: Vec::new(),
    };
    for part in parts {
        let (key, value) = part.split_once('=').ok_or_else(|| format!("`{part}` is not of the form NAME=VALUE"))?;
        match key {
            "pid" => contender.pid = Some(value.parse().map_err(|_| format!("`{value}` is no process id"))?),
            "durability" => contender.durability = Some(value.to_owned()),
            _ if Peer::of(address).is_some() => {
                return Err(format!("{name} has no topics that `{key}` could be set for"));
            }
            _ => contender.settings.push((key.to_owned(), value.to_owned())),
        }
    }
    Ok(contender)
}

const NAME_BYTES_MAX: usize = 32;

/// Names tell rows and topics apart.
pub(super) fn check_names(contenders: &[Contender]) -> Result<(), String> {
    for (place, contender) in contenders.iter().enumerate() {
        if contenders[..place].iter().any(|earlier| earlier.name == contender.name) {
            return Err(format!("two brokers are named {}", contender.name));
        }
    }
    Ok(())
}

impl Contender {
    /// The topic that a load writes or reads.
    pub(super) fn topic(&self, load: Load) -> String {
        format!("compare-{}-{}", self.name, load.topic())
    }

    /// The load's command line, program name first.
    pub(super) fn arguments(&self, options: &CompareOptions, load: Load, rate: Option<u64>) -> Vec<String> {
        let command = if load == Load::Consume { "consume" } else { "produce" };
        let mut arguments = vec!["ringmill-bench".to_owned(), command.to_owned()];
        let mut push = |name: &str, value: String| arguments.extend([format!("--{name}"), value]);
        push("broker", self.address.clone());
        push("topic", self.topic(load));
        push("connections", options.connections.to_string());
        if let Some(pid) = self.pid {
            push("pid", pid.to_string());
        }
        if load == Load::Consume {
            return arguments;
        }
        // Without partitions of its own a peer writes a stream per connection.
        if Peer::of(&self.address).is_none() {
            push("partitions", options.partitions().to_string());
            push("codec", options.codec.to_string());
        }
        push("payload", options.payload_name());
        push("in-flight", options.in_flight.to_string());
        push("record-bytes", load.record_bytes().to_string());
        push("batch-records", options.batch_records(load).to_string());
        match rate {
            Some(rate) => {
                push("rate", rate.to_string());
                push("duration", format!("{}ms", options.paced_duration.as_millis()));
            }
            None => push("bytes", options.bytes.to_string()),
        }
        for (name, value) in &self.settings {
            push("config", format!("{name}={value}"));
        }
        arguments.push("--fresh".to_owned());
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_may_bring_its_process_and_settings_of_its_topics() {
        let contender = parse("kafka-synced=127.0.0.1:9192,pid=77,flush.messages=1,durability=synced").unwrap();
        let settings = vec![("flush.messages".to_owned(), "1".to_owned())];
        assert_eq!(contender.address, "127.0.0.1:9192");
        assert_eq!((contender.pid, contender.settings), (Some(77), settings));
        assert_eq!(contender.durability.as_deref(), Some("synced"));
    }

    #[test]
    fn what_is_no_broker_is_refused() {
        for text in
            ["", "kafka", "kafka=9092", "a b=h:1", "a/b=h:1", "a=h:1,pid=x", "a=h:1,pid", "a=redis://h:1,maxlen=7"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_is_given_once() {
        let contenders = ["a=h:1", "b=h:1", "a=h:2"].map(|text| parse(text).unwrap());
        assert!(check_names(&contenders[..2]).is_ok());
        assert!(check_names(&contenders).is_err());
    }
}
