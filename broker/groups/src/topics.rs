//! What groups must know of topics: which there are, and how many partitions they have.

/// A topic's identity, as in the protocol; all zero for none.
pub type TopicId = [u8; 16];

/// The topics of the cluster, at one moment.
pub trait Topics {
    /// The id and the number of partitions of a topic.
    fn find(&self, name: &str) -> Option<(TopicId, i32)>;
    /// The name of a topic.
    fn name(&self, id: &TopicId) -> Option<&str>;
    /// All names in order, internal topics included.
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_>;
}
