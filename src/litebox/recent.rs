//! The ids of the boxes that went last. Remembers a bounded number, however long a runtime lives.

use std::collections::VecDeque;

use crate::model::id::BoxID;

/// Remove follows stop closely, so this is plenty; it takes some tens of kilobytes.
const MOST: usize = 1024;

/// The newest ids that were added.
#[derive(Debug, Default)]
pub(super) struct RecentIds(VecDeque<BoxID>);

impl RecentIds {
    pub(super) fn add(&mut self, id: BoxID) {
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back(id);
    }

    pub(super) fn contains(&self, id: &BoxID) -> bool {
        self.0.contains(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::BoxIDMint;

    #[test]
    fn the_newest_are_known_and_the_oldest_make_room() {
        let mut recent = RecentIds::default();
        let ids: Vec<BoxID> = (0..MOST + 2).map(|_| BoxIDMint::mint()).collect();
        for id in &ids {
            recent.add(id.clone());
            assert!(recent.contains(id));
        }
        assert!(ids[..2].iter().all(|old| !recent.contains(old)));
        assert!(ids[2..].iter().all(|new| recent.contains(new)));
        assert_eq!(recent.0.len(), MOST);
    }
}
