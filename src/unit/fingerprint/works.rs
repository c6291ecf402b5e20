//! Probes, signs of readiness, sockets, ladders. Every type is taken apart by name, and every choice
//! has a number that stays.

use crate::unit::fingerprint::Hash;
use crate::unit::spec::listen::{Listen, ListenAddress, SocketSpec};
use crate::unit::spec::probe::{
    Address, Expression, FileProbe, GrpcProbe, HttpProbe, LogProbe, Pattern, PostgresProbe, ProbeKind,
    ProbeSpec, RedisProbe, RedisRole, Retries, Target, Tls,
};
use crate::unit::spec::recover::{Ladder, Reload, Rung};
use crate::unit::spec::{Levers, Ready, Template, UnitSet};

impl Hash {
    pub(super) fn levers(&mut self, levers: &Levers) {
        let Levers { start, restart } = levers;
        self.optional_templates(start.as_deref());
        self.optional_templates(restart.as_deref());
    }

    pub(super) fn ready(&mut self, ready: &Ready) {
        match ready {
            Ready::Started => self.number(0_u8),
            Ready::Health => self.number(1_u8),
            Ready::Notify => self.number(2_u8),
            Ready::Log(Pattern(pattern)) => {
                self.number(3_u8);
                self.text(pattern);
            }
            Ready::Fd(fd) => {
                self.number(4_u8);
                self.number(*fd);
            }
        }
    }

    pub(super) fn listen(&mut self, listen: &Listen) {
        let Listen { sockets, is_lazy } = listen;
        self.number(*is_lazy);
        self.number(sockets.len());
        for SocketSpec { name, address } in sockets {
            self.text(name);
            match address {
                ListenAddress::Tcp(address) => {
                    self.number(0_u8);
                    self.address(address);
                }
                ListenAddress::Udp(address) => {
                    self.number(1_u8);
                    self.address(address);
                }
                ListenAddress::Unix { path, mode } => {
                    self.number(2_u8);
                    self.text(path);
                    self.number(*mode);
                }
            }
        }
    }

    pub(super) fn ladder(&mut self, ladder: &Ladder, set: &UnitSet) {
        let Ladder { rungs, settle } = ladder;
        self.duration(*settle);
        self.number(rungs.len());
        for rung in rungs.iter() {
            match rung {
                Rung::Exec { command, timeout } => {
                    self.number(0_u8);
                    self.templates(command);
                    self.duration(*timeout);
                }
                Rung::Restart { with } => {
                    self.number(1_u8);
                    self.units(with, set);
                }
                Rung::Reload(Reload::Signal(signal)) => {
                    self.number(2_u8);
                    self.number(signal.0);
                }
                Rung::Reload(Reload::Command(command)) => {
                    self.number(3_u8);
                    self.templates(command);
                }
                Rung::Stop => self.number(4_u8),
                Rung::Alert { channel } => {
                    self.number(5_u8);
                    self.text(channel);
                }
            }
        }
    }

    pub(super) fn probes(&mut self, probes: &[ProbeSpec]) {
        self.number(probes.len());
        probes.iter().for_each(|probe| self.probe(probe));
    }

    fn probe(&mut self, probe: &ProbeSpec) {
        let ProbeSpec { kind, interval, timeout, retries, successes, start_period, start_interval } = probe;
        self.question(kind);
        self.duration(*interval);
        self.duration(*timeout);
        let Retries { count, of } = retries;
        self.number(*count);
        self.number(*of);
        self.duration(*start_period);
        self.number(*successes);
        self.optional_duration(*start_interval);
    }

    fn question(&mut self, kind: &ProbeKind) {
        match kind {
            ProbeKind::Exec { command } => {
                self.number(0_u8);
                self.templates(command);
            }
            ProbeKind::Tcp(address) => {
                self.number(1_u8);
                self.address(address);
            }
            ProbeKind::Http(http) => {
                self.number(2_u8);
                self.http(http);
            }
            ProbeKind::Unix { path } => {
                self.number(3_u8);
                self.text(path);
            }
            ProbeKind::Redis(redis) => {
                self.number(4_u8);
                self.redis(redis);
            }
            ProbeKind::Postgres(postgres) => {
                self.number(5_u8);
                self.postgres(postgres);
            }
            ProbeKind::Grpc(grpc) => {
                self.number(6_u8);
                let GrpcProbe { target, service, tls } = &**grpc;
                self.target(target);
                self.text(service);
                self.tls(tls.as_ref());
            }
            ProbeKind::File(file) => {
                self.number(7_u8);
                let FileProbe { path, max_age, min_size_bytes, max_size_bytes } = file;
                self.text(path);
                self.optional_duration(*max_age);
                self.optional_number(*min_size_bytes);
                self.optional_number(*max_size_bytes);
            }
            ProbeKind::Log(log) => {
                self.number(8_u8);
                let LogProbe { within, matches, bad } = log;
                self.optional_duration(*within);
                self.pattern(matches.as_ref());
                self.pattern(bad.as_ref());
            }
            ProbeKind::Check(Expression(expression)) => {
                self.number(9_u8);
                self.text(expression);
            }
        }
    }

    fn http(&mut self, http: &HttpProbe) {
        let HttpProbe {
            target,
            tls,
            method,
            path,
            headers,
            status,
            contains,
            matches,
            that,
            follow_redirects,
        } = http;
        self.target(target);
        self.tls(tls.as_ref());
        self.text(method);
        self.text(path);
        self.number(headers.len());
        for (name, value) in headers {
            self.text(name);
            self.template(value);
        }
        self.number(status.len());
        for (first, last) in status {
            self.number(*first);
            self.number(*last);
        }
        self.optional(contains.as_deref());
        self.pattern(matches.as_ref());
        self.optional(that.as_ref().map(|Expression(that)| &**that));
        self.number(*follow_redirects);
    }

    fn redis(&mut self, redis: &RedisProbe) {
        let RedisProbe { target, username, password, role, max_lag } = redis;
        self.target(target);
        self.optional_template(username.as_ref());
        self.optional_template(password.as_ref());
        self.number(match role {
            None => 0_u8,
            Some(RedisRole::Master) => 1,
            Some(RedisRole::Replica) => 2,
        });
        self.optional_duration(*max_lag);
    }

    fn postgres(&mut self, postgres: &PostgresProbe) {
        let PostgresProbe { target, user, password, database, query, expect } = postgres;
        self.target(target);
        self.optional_template(user.as_ref());
        self.optional_template(password.as_ref());
        self.optional_template(database.as_ref());
        self.optional(query.as_deref());
        self.optional(expect.as_deref());
    }

    fn optional_template(&mut self, template: Option<&Template>) {
        self.optional_templates(template.map(std::slice::from_ref));
    }

    fn target(&mut self, target: &Target) {
        match target {
            Target::Tcp(address) => {
                self.number(0_u8);
                self.address(address);
            }
            Target::Unix(path) => {
                self.number(1_u8);
                self.text(path);
            }
        }
    }

    fn address(&mut self, address: &Address) {
        let Address { host, port } = address;
        self.text(host);
        self.number(*port);
    }

    fn tls(&mut self, tls: Option<&Tls>) {
        self.number(tls.is_some());
        if let Some(Tls { ca, verify }) = tls {
            self.optional(ca.as_deref());
            self.number(*verify);
        }
    }

    fn pattern(&mut self, pattern: Option<&Pattern>) {
        self.optional(pattern.map(|Pattern(pattern)| &**pattern));
    }
}
