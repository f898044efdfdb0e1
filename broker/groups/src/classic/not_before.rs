//! When to look whose time is over.

/// A moment before which none of many is due. Their moments mostly move on, one with each heartbeat, so that the least of them is looked for
/// only once this one has come; it may be earlier than that, never later.
#[derive(Debug)]
pub(super) struct NotBefore(u64);

impl NotBefore {
    /// For these moments.
    pub(super) fn of(moments_ms: impl Iterator<Item = u64>) -> NotBefore {
        NotBefore(moments_ms.min().unwrap_or(u64::MAX))
    }

    /// One of them is this now.
    pub(super) fn or_at(&mut self, at_ms: u64) {
        self.0 = self.0.min(at_ms);
    }

    pub(super) fn has_come(&self, now_ms: u64) -> bool {
        self.0 <= now_ms
    }

    /// When to look; never without a moment.
    pub(super) fn ms(&self) -> Option<u64> {
        (self.0 < u64::MAX).then_some(self.0)
    }
}

impl Default for NotBefore {
    fn default() -> NotBefore {
        NotBefore(u64::MAX)
    }
}
