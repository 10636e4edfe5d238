//! An output of a command that is read as it comes.

use std::ffi::OsString;
use std::io::Write;

use boxlite::BoxliteError;
use boxlite::litebox::ExecBytes;
use futures::StreamExt;

use crate::answer::Answer;

/// An output that goes to a file as it comes.
pub(crate) struct Reader {
    stream: ExecBytes,
    file: std::fs::File,
    seen: Vec<u8>,
    pub(crate) received: u64,
    pub(crate) cut: Option<BoxliteError>,
}

impl Reader {
    pub(crate) fn new(stream: ExecBytes, path: OsString) -> Self {
        let file = std::fs::File::create(path).expect("a file for the output");
        Self { stream, file, seen: Vec::new(), received: 0, cut: None }
    }

    /// Reads while `wanted` says so; to the end when it always does.
    pub(crate) async fn read_while(&mut self, wanted: impl Fn(&Self) -> bool) {
        while wanted(self) {
            match self.stream.next().await {
                Some(Ok(chunk)) => {
                    self.received += chunk.len() as u64;
                    if self.seen.len() < 4096 {
                        self.seen.extend_from_slice(&chunk);
                    }
                    self.file.write_all(&chunk).expect("room for the output");
                }
                Some(Err(error)) => self.cut = Some(error),
                None => return,
            }
        }
    }

    pub(crate) fn has(&self, text: &[u8]) -> bool {
        text.is_empty() || self.seen.windows(text.len()).any(|window| window == text)
    }

    pub(crate) fn finish(self, answer: &mut Answer, key: &str) {
        if let Some(error) = self.cut {
            answer.tell_error(key, &error);
        }
    }
}
