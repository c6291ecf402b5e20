//! A small web server for the tests of deliveries: it does as it is told, and says what it got.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

/// What the next requests get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Answer(u16),
    /// Takes the request and never answers.
    Hang,
    HangUp,
}

#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    mood: Arc<Mutex<Mood>>,
    requests: Receiver<Request>,
}

#[derive(Debug)]
pub(super) struct Request {
    pub(super) head: String,
    pub(super) body: String,
}

impl Server {
    pub(super) fn start(mood: Mood) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), mood)
    }

    /// At an address that was free a moment ago.
    pub(super) fn at(address: SocketAddr, mood: Mood) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let mood = Arc::new(Mutex::new(mood));
        let (told, requests) = channel();
        let theirs = Arc::clone(&mood);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (theirs, told) = (Arc::clone(&theirs), told.clone());
                std::thread::spawn(move || serve(stream.unwrap(), &theirs, &told));
            }
        });
        Self { address, mood, requests }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub(super) fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// Those that have come so far.
    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.try_iter().collect()
    }
}

fn serve(stream: TcpStream, mood: &Mutex<Mood>, told: &Sender<Request>) {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return;
        }
    }
    let length =
        head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).unwrap();
    let mood = *mood.lock().unwrap();
    // Whoever is not asked any more does not care.
    told.send(Request { head, body: String::from_utf8(body).unwrap() }).ok();
    match mood {
        Mood::Answer(status) => {
            let answer = format!("HTTP/1.1 {status} So\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            reader.get_mut().write_all(answer.as_bytes()).ok();
        }
        // Until the client goes away.
        Mood::Hang => drop(reader.read(&mut [0])),
        Mood::HangUp => {}
    }
}
