//! The conformance driver in Rust: performs what it is told over stdin, and prints what it saw. It expects nothing; the
//! requests and answers are told in ../README.md.

mod answer;
mod commands;
mod driver;
mod leaks;
mod reader;
mod request;
mod start;
mod streams;

use std::io::{BufRead, Write};

use driver::Driver;
use request::Request;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let [home, image, registry] =
        <[String; 3]>::try_from(std::env::args().skip(1).collect::<Vec<_>>()).expect("HOME IMAGE REGISTRY");
    let mut driver = Driver::open(home, &image, registry).await;
    for line in std::io::stdin().lock().lines() {
        let request = Request::parse(&line.expect("a request"));
        let answer = driver.perform(&request).await.json();
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{answer}").and_then(|()| stdout.flush()).expect("somebody who listens");
    }
    driver.shut_down().await;
}
