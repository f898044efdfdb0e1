//! Topics as groups see them.

use ringmill_groups::{TopicId, Topics};

use crate::metadata::MetadataImage;

/// The topics of a metadata image.
pub(super) struct TopicsOf<'a>(pub(super) &'a MetadataImage);

impl Topics for TopicsOf<'_> {
    fn find(&self, name: &str) -> Option<(TopicId, i32)> {
        self.0.topic(name).map(|topic| (topic.id, topic.partition_count))
    }

    fn name(&self, id: &TopicId) -> Option<&str> {
        self.0.topic_by_id(id).map(|topic| &*topic.name)
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.0.topics().map(|topic| &*topic.name))
    }
}
