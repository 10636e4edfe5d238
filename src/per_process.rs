//! A value of which each process has one of its own, also one that was forked.
//!
//! A forked child finds its parent's, sees another pid, and makes the next: the parent's may be locked by a thread that
//! does not exist in the child.

use once_cell::race::OnceBox;

/// One `T` per process; for statics.
pub(crate) struct PerProcess<T: 'static>(OnceBox<Node<T>>);

struct Node<T: 'static> {
    pid: u32,
    value: T,
    next: OnceBox<Node<T>>,
}

impl<T: Default> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self(OnceBox::new())
    }

    /// The present process's.
    pub(crate) fn get(&'static self) -> &'static T {
        let pid = std::process::id();
        let fresh = || Box::new(Node { pid, value: T::default(), next: OnceBox::new() });
        let mut node = self.0.get_or_init(fresh);
        while node.pid != pid {
            node = node.next.get_or_init(fresh);
        }
        &node.value
    }
}
