//! Speaks just enough RESP to say PING, and to read what a server says of its replication.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use crate::engine::time::Pretty;
use crate::probe::question::{RedisQuestion, Secret};
use crate::probe::stream::{Place, Stream};
use crate::probe::{Trouble, of_system, quoted, theirs};
use crate::unit::spec::probe::RedisRole;

/// Words to add to those about the PONG.
pub(crate) async fn ask(place: &Place, question: &RedisQuestion) -> Result<String, Trouble> {
    let mut server = Server(BufReader::new(Stream::connect(place).await?));
    if let Some(Secret(password)) = &question.password {
        let mut words: Vec<&[u8]> = vec![b"AUTH"];
        words.extend(question.username.as_ref().map(|Secret(name)| name.as_slice()));
        words.push(password);
        server.say(&words).await?;
    }
    let said = server.say(&[b"PING"]).await?;
    if said != b"PONG" {
        return Err(theirs(format!("PING was answered by {:?}", quoted(&String::from_utf8_lossy(&said)))));
    }
    if question.role.is_none() && question.max_lag.is_none() {
        return Ok(String::new());
    }
    let info = server.say(&[b"INFO", b"replication"]).await?;
    judge(&Replication::read(&String::from_utf8_lossy(&info)), question)
}

struct Server(BufReader<Stream>);

impl Server {
    /// One command and its answer.
    async fn say(&mut self, words: &[&[u8]]) -> Result<Vec<u8>, Trouble> {
        let mut command = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            command.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            command.extend_from_slice(word);
            command.extend_from_slice(b"\r\n");
        }
        self.0.write_all(&command).await.map_err(|error| of_system(&error))?;
        let line = self.line().await?;
        let (kind, rest) = line.split_at_checked(1).ok_or_else(nonsense)?;
        match kind {
            b"+" => Ok(rest.to_vec()),
            b"-" => Err(theirs(refusal(&String::from_utf8_lossy(rest)))),
            b"$" => {
                let length = std::str::from_utf8(rest).ok().and_then(|text| text.parse::<usize>().ok());
                let length = length.filter(|length| *length <= MOST_BYTES).ok_or_else(nonsense)?;
                let mut text = vec![0; length.saturating_add(2)];
                self.0.read_exact(&mut text).await.map_err(|error| of_system(&error))?;
                text.truncate(length);
                Ok(text)
            }
            _ => Err(nonsense()),
        }
    }

    async fn line(&mut self) -> Result<Vec<u8>, Trouble> {
        let mut line = Vec::new();
        let limit = u64::try_from(MOST_BYTES).unwrap_or(u64::MAX);
        let read = (&mut self.0).take(limit).read_until(b'\n', &mut line).await;
        read.map_err(|error| of_system(&error))?;
        if line.is_empty() {
            return Err(theirs("the connection was closed early"));
        }
        let line = line.strip_suffix(b"\r\n").ok_or_else(nonsense)?;
        Ok(line.to_vec())
    }
}

fn nonsense() -> Trouble {
    theirs("the answer is not redis")
}

/// What an error of the server means to who runs it.
fn refusal(said: &str) -> String {
    let words = match said.split(' ').next().unwrap_or_default() {
        "LOADING" => "it is still loading its data",
        "NOAUTH" => "it wants a password",
        "WRONGPASS" => "the password is wrong",
        "NOPERM" => "the user may not ask",
        "MASTERDOWN" => "it has lost its master",
        "BUSY" => "it is busy with a script",
        "MISCONF" => "it cannot save to its disk",
        "DENIED" => "it runs in protected mode",
        "ERR" if said.contains("max number of clients") => "it has too many clients",
        "ERR" if said.contains("AUTH") => "it has no password, or not this user's",
        _ => return quoted(said),
    };
    format!("{words} ({})", quoted(said.split(' ').next().unwrap_or_default()))
}

/// What `INFO replication` says.
#[derive(Debug, Default)]
struct Replication {
    is_master: Option<bool>,
    is_linked: bool,
    silent: Option<u64>,
    down: Option<u64>,
}

impl Replication {
    fn read(info: &str) -> Self {
        let mut read = Self::default();
        for (key, value) in info.lines().filter_map(|line| line.trim().split_once(':')) {
            match key {
                "role" => read.is_master = Some(value == "master"),
                "master_link_status" => read.is_linked = value == "up",
                // Less than zero while there is no link.
                "master_last_io_seconds_ago" => read.silent = value.parse().ok(),
                "master_link_down_since_seconds" => read.down = value.parse().ok(),
                _ => {}
            }
        }
        read
    }
}

fn judge(found: &Replication, question: &RedisQuestion) -> Result<String, Trouble> {
    let is_master = found.is_master.ok_or_else(|| theirs("it does not say whether it is a master"))?;
    let name = if is_master { "master" } else { "replica" };
    match question.role {
        Some(RedisRole::Master) if !is_master => return Err(theirs("it is a replica, wanted a master")),
        Some(RedisRole::Replica) if is_master => return Err(theirs("it is a master, wanted a replica")),
        Some(RedisRole::Master | RedisRole::Replica) | None => {}
    }
    let Some(most) = question.max_lag.filter(|_| !is_master) else { return Ok(format!(", {name}")) };
    if !found.is_linked {
        let since = found.down.map(|down| format!(" for {}", Pretty(Duration::from_secs(down))));
        return Err(theirs(format!("it has lost its master{}", since.unwrap_or_default())));
    }
    let silent = Duration::from_secs(found.silent.unwrap_or(0));
    if silent > most {
        let words = format!("its master was silent for {}, at most {}", Pretty(silent), Pretty(most));
        return Err(theirs(words));
    }
    Ok(format!(", {name}, {} behind", Pretty(silent)))
}

/// `INFO replication` of a master with many replicas takes a few KiB.
const MOST_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::spec::probe::{Address, Target};

    #[test]
    fn a_replica_is_judged_by_its_link_and_by_the_silence_of_its_master() {
        let wants = |role, lag: Option<u64>| RedisQuestion {
            target: Target::Tcp(Address { host: "h".into(), port: 1 }),
            username: None,
            password: None,
            role,
            max_lag: lag.map(Duration::from_secs),
        };
        let replica = "role:slave\r\nmaster_link_status:up\r\nmaster_last_io_seconds_ago:7\r\n";
        let said = |info: &str, role, lag| judge(&Replication::read(info), &wants(role, lag));
        assert_eq!(said(replica, Some(RedisRole::Replica), Some(10)), Ok(", replica, 7s behind".to_owned()));
        assert_eq!(said(replica, None, Some(5)), Err(theirs("its master was silent for 7s, at most 5s")));
        assert_eq!(
            said(replica, Some(RedisRole::Master), None),
            Err(theirs("it is a replica, wanted a master"))
        );
        let lost = "role:slave\r\nmaster_link_status:down\r\nmaster_last_io_seconds_ago:-1\r\n\
                    master_link_down_since_seconds:90\r\n";
        assert_eq!(said(lost, None, Some(5)), Err(theirs("it has lost its master for 1m30s")));
        assert_eq!(said("role:master\r\n", Some(RedisRole::Master), Some(5)), Ok(", master".to_owned()));
        assert_eq!(said("x", None, Some(5)), Err(theirs("it does not say whether it is a master")));
    }
}
