//! What several integration tests share.

pub(crate) mod c_program;
pub(crate) mod forked_program;
