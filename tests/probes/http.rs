use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use mcsup::probe::question::{HttpQuestion, Question, Secret};
use mcsup::unit::spec::probe::{Expression, HttpProbe, Pattern, Target, Tls};

use crate::world::{Dir, Program, ask, command, errs, fails, free_port, listens, passes, run, tcp};

struct Nginx {
    dir: Dir,
    plain: u16,
    secure: u16,
    _server: Program,
}

impl Nginx {
    fn start(name: &str) -> Self {
        let dir = Dir::new(name);
        // Its workers are somebody else when it runs as root.
        fs::set_permissions(&dir.0, fs::Permissions::from_mode(0o755)).expect("permissions");
        certify(&dir);
        let (plain, secure) = (free_port(), free_port());
        let at = dir.0.display();
        let config = format!(
            "daemon off; pid {at}/nginx.pid; error_log stderr; worker_processes 1;\n\
             events {{}}\n\
             http {{ access_log off;\n\
               client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f;\n\
               uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
               server {{ listen 127.0.0.1:{plain}; listen unix:{at}/n.sock; listen 127.0.0.1:{secure} ssl;\n\
                 ssl_certificate {at}/server.pem; ssl_certificate_key {at}/server.key;\n\
                 location = /ok {{ return 200 'all is well'; }}\n\
                 location = /broken {{ return 503; }}\n\
                 location = /moved {{ return 302 ok; }}\n\
                 location = /away {{ return 301 https://127.0.0.1:{secure}/host; }}\n\
                 location = /loop {{ return 302 /loop; }}\n\
                 location = /host {{ return 200 'host=$http_host token=$http_x_token method=$request_method'; }}\n\
                 location = /json {{ default_type application/json;\n\
                   return 200 '{{\"models\": [], \"free\": 3, \"names\": [\"a\", \"b\"]}}'; }}\n\
               }} }}\n"
        );
        let file = dir.write("nginx.conf", &config);
        let server = Program::start(command("nginx").args(["-c", &file]), &dir.0.join("log"));
        listens(plain);
        listens(secure);
        Self { dir, plain, secure, _server: server }
    }

    fn probe(&self, path: &str) -> HttpProbe {
        HttpProbe::get(tcp(self.plain), path)
    }

    fn secure(&self, ca: Option<&str>, verify: bool) -> HttpProbe {
        let ca = ca.map(|name| self.dir.path(name).into());
        HttpProbe { tls: Some(Tls { ca, verify }), ..HttpProbe::get(tcp(self.secure), "/ok") }
    }
}

/// An authority, a certificate of it for 127.0.0.1, and an authority that signed nothing.
fn certify(dir: &Dir) {
    let openssl = |line: &str| run(command("openssl").args(line.split(' ')).current_dir(&dir.0));
    for name in ["ca", "stranger"] {
        openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={name} -keyout {name}.key -out {name}.pem"
        ));
    }
    openssl(
        "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=server -keyout server.key -out server.csr",
    );
    dir.write("names", "subjectAltName=IP:127.0.0.1\n");
    openssl("x509 -req -in server.csr -CA ca.pem -CAkey ca.key -days 2 -extfile names -out server.pem");
}

fn http(probe: HttpProbe) -> Question {
    Question::Http(Box::new(probe.into()))
}

#[test]
fn an_expression_that_has_the_word_json_in_a_text_needs_no_json() {
    let nginx = Nginx::start("word");
    let that = |text: &str| Some(Expression(text.into()));
    let about_type = that("!headers['content-type'].contains('json') && body == 'all is well'");
    passes(&ask(http(HttpProbe { that: about_type, ..nginx.probe("/ok") })), "200");
    fails(&ask(http(HttpProbe { that: that("json.a == 1"), ..nginx.probe("/ok") })), "the body is not JSON");
}

#[test]
fn statuses_are_expected_or_told() {
    let nginx = Nginx::start("status");
    passes(&ask(http(nginx.probe("/ok"))), "200 in ");
    fails(&ask(http(nginx.probe("/broken"))), "status 503, wanted 200-399");
    passes(&ask(http(nginx.probe("/moved"))), "302 in ");
    let wanted = HttpProbe { status: vec![(500, 599), (404, 404)], ..nginx.probe("/broken") };
    passes(&ask(http(wanted.clone())), "503 in ");
    fails(&ask(http(HttpProbe { path: "/ok".into(), ..wanted })), "status 200, wanted 500-599, 404");
    let unix = HttpProbe { target: Target::Unix(nginx.dir.path("n.sock").into()), ..nginx.probe("/ok") };
    passes(&ask(http(unix)), "200 in ");
    fails(&ask(http(HttpProbe::get(Target::Unix(nginx.dir.path("none").into()), "/"))), "no socket");
}

#[test]
fn a_question_says_what_the_unit_says() {
    let nginx = Nginx::start("says");
    let probe = HttpProbe {
        method: "POST".into(),
        contains: Some("host=127.0.0.1:".into()),
        matches: Some(Pattern("token=s3.ret method=POST$".into())),
        ..nginx.probe("/host")
    };
    let headers = vec![("X-Token".into(), Secret(b"s3cret".to_vec()))];
    let question = Question::Http(Box::new(HttpQuestion { probe, headers }));
    assert!(!format!("{question:?}").contains("s3cret"), "secrets are never shown");
    passes(&ask(question), "200 in ");
}

#[test]
fn a_body_is_searched_and_judged() {
    let nginx = Nginx::start("body");
    let json =
        |that: &str| ask(http(HttpProbe { that: Some(Expression(that.into())), ..nginx.probe("/json") }));
    passes(
        &json("status == 200 && json.free > 2 && 'a' in json.names && body.contains('models')"),
        "200 in ",
    );
    passes(&json("headers['content-type'] == 'application/json'"), "200 in ");
    fails(
        &json("status == 200 && size(json.models) > 0"),
        "json.models has 0 items: size(json.models) > 0 is false",
    );
    fails(&json("json.gpu.free > 2"), "json.gpu is missing, in json.gpu.free > 2");
    fails(&json("json.free > 'x'"), "> does not work on int and string");
    let text = HttpProbe { that: Some(Expression("json.ok".into())), ..nginx.probe("/ok") };
    fails(&ask(http(text)), "the body is not JSON");
    fails(
        &ask(http(HttpProbe { contains: Some("ill".into()), ..nginx.probe("/ok") })),
        "the body does not contain \"ill\"",
    );
    let pattern = HttpProbe { matches: Some(Pattern("^well".into())), ..nginx.probe("/ok") };
    fails(&ask(http(pattern)), "the body does not match ^well");
}

#[test]
fn redirects_are_followed_where_the_unit_wants_it() {
    let nginx = Nginx::start("moved");
    let follow = |path: &str| HttpProbe { follow_redirects: true, ..nginx.probe(path) };
    let well = HttpProbe { contains: Some("all is well".into()), ..follow("/moved") };
    passes(&ask(http(well)), "200 in ");
    fails(&ask(http(follow("/loop"))), "more than 10 redirects");
    // Elsewhere by TLS; nobody there is told this unit's secrets.
    let away = HttpProbe { tls: None, contains: Some("token= ".into()), ..follow("/away") };
    let headers = vec![("X-Token".into(), Secret(b"s3cret".to_vec()))];
    let verdict = ask(Question::Http(Box::new(HttpQuestion { probe: away, headers })));
    // Its authority is of our own making, and a redirect is judged by those of the machine.
    fails(&verdict, "unknown authority");
}

#[test]
fn certificates_are_judged_by_the_authority_that_the_unit_names() {
    let nginx = Nginx::start("tls");
    passes(&ask(http(nginx.secure(Some("ca.pem"), true))), "200 in ");
    fails(&ask(http(nginx.secure(Some("stranger.pem"), true))), "its certificate is of an unknown authority");
    passes(&ask(http(nginx.secure(None, false))), "200 in ");
    errs(&ask(http(nginx.secure(Some("none.pem"), true))), "cannot read the authorities in");
    errs(&ask(http(nginx.secure(Some("server.key"), true))), "it holds no certificate");
    let name = HttpProbe {
        target: Target::Tcp(mcsup::unit::spec::probe::Address {
            host: "localhost".into(),
            port: nginx.secure,
        }),
        ..nginx.secure(Some("ca.pem"), true)
    };
    fails(&ask(http(name)), "its certificate is for another name");
    let plain = HttpProbe { target: tcp(nginx.plain), ..nginx.secure(Some("ca.pem"), true) };
    fails(&ask(http(plain)), "it does not speak TLS");
}

#[test]
fn a_server_of_another_make_is_understood_too() {
    let dir = Dir::new("python");
    dir.write("index.txt", "hello");
    let port = free_port();
    let _server = Program::start(
        command("python3")
            .args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string()])
            .current_dir(&dir.0),
        &dir.0.join("log"),
    );
    listens(port);
    let probe = |path: &str| HttpProbe { contains: Some("hello".into()), ..HttpProbe::get(tcp(port), path) };
    passes(&ask(http(probe("/index.txt"))), "200 in ");
    fails(&ask(http(probe("/none"))), "status 404, wanted 200-399");
}
