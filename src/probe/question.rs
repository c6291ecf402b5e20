//! What is asked, with everything that the unit's environment had to say filled in.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::expr::Facts;
use crate::probe::log::LogQuestion;
use crate::unit::spec::Template;
use crate::unit::spec::probe::{
    Address, Expression, GrpcProbe, HttpProbe, ProbeKind, RedisRole, Target, Tls,
};

#[derive(Clone, Debug)]
pub enum Question {
    Tcp(Target),
    Unix(Target),
    Http(Box<HttpQuestion>),
    Redis(Box<RedisQuestion>),
    Postgres(Box<PostgresQuestion>),
    Grpc(Box<GrpcProbe>),
    File(FileQuestion),
    Log(LogQuestion),
    Check { expression: Expression, facts: Facts },
}

/// Never shown, not even in what only we read.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("...")
    }
}

#[derive(Clone, Debug)]
pub struct HttpQuestion {
    pub probe: HttpProbe,
    /// In place of the probe's templates.
    pub headers: Vec<(Box<str>, Secret)>,
}

#[derive(Clone, Debug)]
pub struct RedisQuestion {
    pub target: Target,
    pub username: Option<Secret>,
    pub password: Option<Secret>,
    pub role: Option<RedisRole>,
    pub max_lag: Option<Duration>,
}

#[derive(Clone, Debug)]
pub struct PostgresQuestion {
    pub target: Target,
    pub user: Secret,
    pub password: Option<Secret>,
    pub database: Option<Secret>,
    pub query: Option<Box<str>>,
    pub expect: Option<Box<str>>,
}

#[derive(Clone, Debug)]
pub struct FileQuestion {
    pub path: PathBuf,
    pub max_age: Option<Duration>,
    pub min_size_bytes: Option<u64>,
    pub max_size_bytes: Option<u64>,
}

/// Where a unit is, as far as its probes need to know.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    pub unit: &'a str,
    /// Number of the probe among the unit's.
    pub index: u16,
    pub run: u64,
    pub working_dir: &'a Path,
    pub units_dir: &'a Path,
    pub log_dir: &'a Path,
}

impl Question {
    /// `None` for a command, which the keeper runs. `facts` is only called for a check.
    ///
    /// # Errors
    /// Those of `expand`.
    pub fn new<E>(
        kind: &ProbeKind,
        around: Surroundings<'_>,
        expand: impl Fn(&Template) -> Result<Vec<u8>, E>,
        facts: impl FnOnce() -> Facts,
    ) -> Result<Option<Self>, E> {
        let secret = |template: &Template| expand(template).map(Secret);
        let maybe = |template: &Option<Template>| template.as_ref().map(secret).transpose();
        Ok(Some(match kind {
            ProbeKind::Exec { .. } => return Ok(None),
            ProbeKind::Tcp(address) => Self::Tcp(Target::Tcp(address.clone())),
            ProbeKind::Unix { path } => Self::Unix(around.target(&Target::Unix(path.clone()))),
            ProbeKind::Http(probe) => {
                let header = |(name, value): &(Box<str>, Template)| Ok((name.clone(), secret(value)?));
                let headers = probe.headers.iter().map(header).collect::<Result<_, E>>()?;
                let mut probe = (**probe).clone();
                probe.target = around.target(&probe.target);
                probe.tls = probe.tls.map(|tls| around.tls(tls));
                Self::Http(Box::new(HttpQuestion { probe, headers }))
            }
            ProbeKind::Redis(probe) => Self::Redis(Box::new(RedisQuestion {
                target: around.target(&probe.target),
                username: maybe(&probe.username)?,
                password: maybe(&probe.password)?,
                role: probe.role,
                max_lag: probe.max_lag,
            })),
            ProbeKind::Postgres(probe) => Self::Postgres(Box::new(PostgresQuestion {
                target: around.postgres(&probe.target),
                user: maybe(&probe.user)?.unwrap_or_else(|| Secret(b"postgres".to_vec())),
                password: maybe(&probe.password)?,
                database: maybe(&probe.database)?,
                query: probe.query.clone(),
                expect: probe.expect.clone(),
            })),
            ProbeKind::Grpc(probe) => {
                let mut probe = (**probe).clone();
                probe.target = around.target(&probe.target);
                probe.tls = probe.tls.map(|tls| around.tls(tls));
                Self::Grpc(Box::new(probe))
            }
            ProbeKind::File(probe) => Self::File(FileQuestion {
                path: around.working_dir.join(&*probe.path),
                max_age: probe.max_age,
                min_size_bytes: probe.min_size_bytes,
                max_size_bytes: probe.max_size_bytes,
            }),
            ProbeKind::Log(probe) => Self::Log(LogQuestion {
                unit: around.unit.into(),
                index: around.index,
                run: around.run,
                dir: around.log_dir.join(around.unit),
                probe: probe.clone(),
            }),
            ProbeKind::Check(expression) => Self::Check { expression: expression.clone(), facts: facts() },
        }))
    }

    pub(crate) fn target(&self) -> Option<&Target> {
        match self {
            Self::Tcp(target) | Self::Unix(target) => Some(target),
            Self::Http(question) => Some(&question.probe.target),
            Self::Redis(question) => Some(&question.target),
            Self::Postgres(question) => Some(&question.target),
            Self::Grpc(question) => Some(&question.target),
            Self::File(_) | Self::Log(_) | Self::Check { .. } => None,
        }
    }

    pub(crate) fn tls(&self) -> Option<&Tls> {
        match self {
            Self::Http(question) => question.probe.tls.as_ref(),
            Self::Grpc(question) => question.tls.as_ref(),
            Self::Tcp(_)
            | Self::Unix(_)
            | Self::Redis(_)
            | Self::Postgres(_)
            | Self::File(_)
            | Self::Log(_)
            | Self::Check { .. } => None,
        }
    }
}

impl Surroundings<'_> {
    fn target(&self, target: &Target) -> Target {
        match target {
            Target::Tcp(Address { .. }) => target.clone(),
            Target::Unix(path) => Target::Unix(text(&self.working_dir.join(&**path))),
        }
    }

    /// Servers of this kind are told apart by the directory of their socket.
    fn postgres(&self, target: &Target) -> Target {
        match self.target(target) {
            Target::Unix(path) if !path.contains("/.s.PGSQL.") => {
                Target::Unix(format!("{path}/.s.PGSQL.5432").into())
            }
            other @ (Target::Unix(_) | Target::Tcp(_)) => other,
        }
    }

    fn tls(&self, tls: Tls) -> Tls {
        let ca = tls.ca.map(|file| text(&self.units_dir.join(&*file)));
        Tls { ca, verify: tls.verify }
    }
}

/// Paths in units are text.
fn text(path: &Path) -> Box<str> {
    path.to_string_lossy().into()
}
