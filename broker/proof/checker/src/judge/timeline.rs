//! A number that only rises, with the line from which each of its values held: what was promised by the time of a question.

use std::collections::VecDeque;

use crate::event::Line;

/// Values that are remembered; a question that is older than all of them is held against less than it could be.
const POINTS_MAX: usize = 4096;

#[derive(Debug)]
pub(super) struct Timeline {
    /// Older than every point.
    base: (Line, i64),
    points: VecDeque<(Line, i64)>,
}

impl Timeline {
    pub(super) fn new(line: Line, value: i64) -> Timeline {
        Timeline { base: (line, value), points: VecDeque::new() }
    }

    /// The value by now.
    pub(super) fn latest(&self) -> (Line, i64) {
        self.points.back().copied().unwrap_or(self.base)
    }

    /// The value that stood before this line.
    pub(super) fn before(&self, line: Line) -> (Line, i64) {
        let known = self.points.partition_point(|(since, _)| *since < line);
        match known.checked_sub(1) {
            Some(last) => self.points[last],
            None if self.base.0 < line => self.base,
            // Asked in an earlier life, before the line began anew.
            None => (self.base.0, 0),
        }
    }

    /// Raises it, if that is higher.
    pub(super) fn raise(&mut self, line: Line, value: i64) {
        if value <= self.latest().1 {
            return;
        }
        if self.points.len() == POINTS_MAX {
            self.base = self.points.pop_front().expect("it is full");
        }
        self.points.push_back((line, value));
    }
}

#[cfg(test)]
mod tests {
    use super::Timeline;

    #[test]
    fn a_question_meets_what_stood_before_it() {
        let mut line = Timeline::new(0, 5);
        line.raise(10, 7);
        line.raise(11, 6);
        line.raise(20, 9);
        assert_eq!(line.before(10), (0, 5));
        assert_eq!(line.before(11), (10, 7));
        assert_eq!(line.before(21), (20, 9));
        assert_eq!(line.latest(), (20, 9));
    }
}
