//! The API over a fake supervisor: its contract, who may do what, and what hostile clients cannot do.

#![expect(clippy::unwrap_used, reason = "a set-up that fails is a test that fails")]

mod fake;

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use fake::{Fake, Served};
use serde_json::{Value, json};

/// Every answer of the fake comes at once: whoever waits this long waits in vain.
const DEADLINE: Duration = Duration::from_secs(20);

struct Answer {
    status: u16,
    content_type: String,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn connect(served: &Served) -> UnixStream {
    let stream = UnixStream::connect(served.socket()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

fn ask(served: &Served, method: &str, path: &str, body: &str) -> Answer {
    let mut stream = connect(served);
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    read_answer(stream)
}

fn read_answer(mut stream: UnixStream) -> Answer {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let head_end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("an HTTP head");
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let field = |name: &str| {
        let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(name));
        line.map(|line| line[name.len()..].trim().to_owned()).unwrap_or_default()
    };
    let mut body = bytes[head_end + 4..].to_vec();
    if field("transfer-encoding:") == "chunked" {
        body = unchunked(&body);
    }
    Answer { status, content_type: field("content-type:"), body }
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").expect("a chunk's size");
        let size = usize::from_str_radix(str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 4 + size..];
    }
}

fn document() -> Value {
    serde_json::to_value(mcsup::api::openapi::document()).unwrap()
}

#[test]
fn the_committed_openapi_document_is_the_one_that_is_served() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/openapi.json");
    let fresh = serde_json::to_string_pretty(&document()).unwrap() + "\n";
    if std::env::var_os("MCSUP_BLESS").is_some() {
        std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/schemas")).unwrap();
        std::fs::write(path, &fresh).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(committed == fresh, "{path} is stale; MCSUP_BLESS=1 cargo test --test api rewrites it");
    let served = Served::new(Fake::new());
    assert_eq!(ask(&served, "GET", "/v1/openapi.json", "").json(), document());
}

#[test]
fn the_document_has_exactly_these_routes() {
    let document = document();
    let mut routes = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            routes.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    let expected = [
        "GET /v1/changes",
        "GET /v1/events",
        "GET /v1/generations",
        "GET /v1/generations/{before}/diff/{after}",
        "GET /v1/generations/{number}",
        "GET /v1/incidents",
        "GET /v1/incidents/{id}",
        "GET /v1/incidents/{id}/postmortem",
        "GET /v1/jobs",
        "GET /v1/jobs/{name}",
        "GET /v1/jobs/{name}/output",
        "GET /v1/openapi.json",
        "GET /v1/ping",
        "GET /v1/reexec",
        "GET /v1/status",
        "GET /v1/units/{name}",
        "GET /v1/units/{name}/file",
        "GET /v1/units/{name}/impact",
        "GET /v1/units/{name}/logs",
        "GET /v1/units/{name}/why",
        "POST /v1/abandon",
        "POST /v1/actions",
        "POST /v1/apply",
        "POST /v1/confirm",
        "POST /v1/generations/verify",
        "POST /v1/generations/{number}/approve",
        "POST /v1/generations/{number}/pin",
        "POST /v1/generations/{number}/reject",
        "POST /v1/generations/{number}/unpin",
        "POST /v1/plan",
        "POST /v1/reexec",
        "POST /v1/reload",
        "POST /v1/rollback",
        "POST /v1/shutdown",
        "POST /v1/units/{name}/kill",
        "POST /v1/units/{name}/restart",
        "POST /v1/units/{name}/run",
        "POST /v1/units/{name}/start",
        "POST /v1/units/{name}/stop",
        "PUT /v1/units/{name}",
    ];
    assert_eq!(routes.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[test]
fn a_path_answers_the_methods_of_the_document_and_no_other() {
    let served = Served::new(Fake::new());
    for (path, item) in document()["paths"].as_object().unwrap() {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            let is_documented = item.get(method.to_lowercase()).is_some();
            let is_last = path == "/v1/shutdown" && method == "POST";
            if is_last {
                continue; // Ends the fake; it has a test of its own.
            }
            let path = named(path) + if path == "/v1/events" { "?follow=false" } else { "" };
            let status = ask(&served, method, &path, "").status;
            assert_eq!(status != 405, is_documented, "{method} {path} answered {status}");
        }
    }
    let nowhere = ask(&served, "GET", "/v2/status", "");
    assert_eq!(nowhere.status, 404);
    assert_eq!(nowhere.json()["type"], "urn:mcsup:problem:no-route");
}

/// A route with something for each of its parts.
fn named(route: &str) -> String {
    let parts = [("{name}", "redis"), ("{id}", "2"), ("{number}", "1"), ("{before}", "1"), ("{after}", "2")];
    parts.iter().fold(route.to_owned(), |path, (part, value)| path.replace(part, value))
}

/// A request and the answer's status and place in the document.
struct Claim {
    method: &'static str,
    route: &'static str,
    path: &'static str,
    body: &'static str,
    status: u16,
}

const fn claim(
    method: &'static str,
    route: &'static str,
    path: &'static str,
    body: &'static str,
    status: u16,
) -> Claim {
    Claim { method, route, path, body, status }
}

const CLAIMS: &[Claim] = &[
    claim("get", "/v1/ping", "/v1/ping", "", 200),
    claim("get", "/v1/status", "/v1/status", "", 200),
    claim("get", "/v1/status", "/v1/status?unit=redis&unit=web%401", "", 200),
    claim("get", "/v1/status", "/v1/status?unit=reids", "", 404),
    claim("get", "/v1/status", "/v1/status?unit=No%20Name", "", 404),
    claim("get", "/v1/units/{name}", "/v1/units/redis", "", 200),
    claim("get", "/v1/units/{name}", "/v1/units/worker", "", 200),
    claim("get", "/v1/units/{name}", "/v1/units/web", "", 200),
    claim("get", "/v1/units/{name}", "/v1/units/reids", "", 404),
    claim("get", "/v1/units/{name}/why", "/v1/units/web@1/why", "", 200),
    claim("get", "/v1/units/{name}/why", "/v1/units/web/why", "", 200),
    claim("get", "/v1/units/{name}/why", "/v1/units/reids/why", "", 404),
    claim("get", "/v1/units/{name}/why", "/v1/units/worker/why", "", 200),
    claim("get", "/v1/units/{name}/impact", "/v1/units/redis/impact", "", 200),
    claim("get", "/v1/units/{name}/impact", "/v1/units/web/impact", "", 200),
    claim("get", "/v1/units/{name}/impact", "/v1/units/reids/impact", "", 404),
    claim("get", "/v1/incidents", "/v1/incidents", "", 200),
    claim("get", "/v1/incidents", "/v1/incidents?open&since=2026-11-20T06:00:00Z&unit=worker", "", 200),
    claim("get", "/v1/incidents", "/v1/incidents?since=soon", "", 400),
    claim("get", "/v1/incidents", "/v1/incidents?unit=reids", "", 404),
    claim("get", "/v1/incidents/{id}", "/v1/incidents/2", "", 200),
    claim("get", "/v1/incidents/{id}", "/v1/incidents/1", "", 200),
    claim("get", "/v1/incidents/{id}", "/v1/incidents/9", "", 404),
    claim("get", "/v1/incidents/{id}", "/v1/incidents/last", "", 400),
    claim("get", "/v1/incidents/{id}/postmortem", "/v1/incidents/1/postmortem", "", 200),
    claim("get", "/v1/incidents/{id}/postmortem", "/v1/incidents/9/postmortem", "", 404),
    claim("post", "/v1/units/{name}/start", "/v1/units/redis/start", "", 200),
    claim("post", "/v1/units/{name}/start", "/v1/units/worker/start", "{}", 200),
    claim("post", "/v1/units/{name}/start", "/v1/units/mail/start", "", 409),
    claim("post", "/v1/units/{name}/start", "/v1/units/reids/start", "", 404),
    claim("post", "/v1/units/{name}/start", "/v1/units/redis/start", "{\"only\": true}", 400),
    claim("post", "/v1/units/{name}/stop", "/v1/units/redis/stop", "{\"only\": true, \"wait\": false}", 200),
    claim("post", "/v1/units/{name}/restart", "/v1/units/redis/restart", "", 200),
    claim("post", "/v1/units/{name}/kill", "/v1/units/redis/kill", "{\"signal\": \"HUP\"}", 200),
    claim("post", "/v1/units/{name}/kill", "/v1/units/redis/kill", "{\"signal\": \"HOP\"}", 400),
    claim(
        "post",
        "/v1/actions",
        "/v1/actions",
        "{\"action\": \"restart\", \"units\": [\"redis\", \"worker\"]}",
        200,
    ),
    claim("post", "/v1/actions", "/v1/actions", "{\"action\": \"restart\", \"units\": []}", 400),
    claim("post", "/v1/actions", "/v1/actions", "{\"action\": \"explode\", \"units\": [\"redis\"]}", 400),
    claim("post", "/v1/actions", "/v1/actions", "{\"action\": \"stop\", \"unit\": \"redis\"}", 400),
    claim("post", "/v1/actions", "/v1/actions", "nonsense", 400),
    claim("post", "/v1/actions", "/v1/actions", "", 400),
    claim("get", "/v1/events", "/v1/events?follow=false", "", 200),
    claim("get", "/v1/events", "/v1/events?after=soon", "", 400),
    claim("get", "/v1/events", "/v1/events?befor=1", "", 400),
    claim("get", "/v1/units/{name}/logs", "/v1/units/redis/logs?lines=2", "", 200),
    claim("get", "/v1/units/{name}/logs", "/v1/units/web/logs", "", 200),
    claim("get", "/v1/units/{name}/logs", "/v1/units/redis/logs?since=soon", "", 400),
    claim("get", "/v1/units/{name}/logs", "/v1/units/redis/logs?lines=-1", "", 400),
    claim("get", "/v1/units/{name}/logs", "/v1/units/reids/logs", "", 404),
    claim("get", "/v1/jobs", "/v1/jobs", "", 200),
    claim("get", "/v1/jobs/{name}", "/v1/jobs/redis", "", 409),
    claim("get", "/v1/jobs/{name}", "/v1/jobs/reids", "", 404),
    claim("get", "/v1/jobs/{name}", "/v1/jobs/redis?runs=all", "", 400),
    claim("get", "/v1/jobs/{name}/output", "/v1/jobs/redis/output", "", 409),
    claim("get", "/v1/jobs/{name}/output", "/v1/jobs/reids/output", "", 404),
    claim("get", "/v1/jobs/{name}/output", "/v1/jobs/redis/output?run=last", "", 400),
    claim("post", "/v1/units/{name}/run", "/v1/units/redis/run", "", 200),
    claim("post", "/v1/units/{name}/run", "/v1/units/redis/run", "{\"only\": true}", 400),
    claim("get", "/v1/changes", "/v1/changes", "", 200),
    claim("post", "/v1/plan", "/v1/plan", "", 200),
    claim("post", "/v1/plan", "/v1/plan", "{\"generation\": 1}", 200),
    claim("post", "/v1/plan", "/v1/plan", "{\"generation\": 9}", 404),
    claim("post", "/v1/plan", "/v1/plan", "{\"generation\": 1, \"dir\": \"/\"}", 400),
    claim("post", "/v1/plan", "/v1/plan", "{\"dir\": \"units\"}", 400),
    claim("post", "/v1/plan", "/v1/plan", "{\"dir\": \"/broken\"}", 422),
    claim("post", "/v1/plan", "/v1/plan", "{\"dir\": \"/nowhere\"}", 409),
    claim(
        "post",
        "/v1/plan",
        "/v1/plan",
        "{\"unit\": {\"name\": \"redis\", \"text\": \"restrat: always\"}}",
        422,
    ),
    claim("post", "/v1/plan", "/v1/plan", "{\"unit\": {\"name\": \"mcsup\", \"text\": \"\"}}", 400),
    claim("post", "/v1/apply", "/v1/apply", "", 200),
    claim("post", "/v1/apply", "/v1/apply", "{\"confirm_ms\": 600000}", 200),
    claim("post", "/v1/apply", "/v1/apply", "{\"confirm_ms\": 0}", 400),
    claim("post", "/v1/apply", "/v1/apply", "{\"wait\": false}", 200),
    claim("post", "/v1/apply", "/v1/apply", "{\"dir\": \"/protected\"}", 200),
    claim("post", "/v1/apply", "/v1/apply", "{\"dir\": \"/broken\"}", 422),
    claim("post", "/v1/apply", "/v1/apply", "{\"dir\": \"/broken\", \"wait\": false}", 422),
    claim("post", "/v1/apply", "/v1/apply", "{\"dir\": \"/nowhere\"}", 409),
    claim("post", "/v1/apply", "/v1/apply", "{\"directory\": \"/\"}", 400),
    claim("post", "/v1/reload", "/v1/reload", "", 200),
    claim("post", "/v1/confirm", "/v1/confirm", "", 200),
    claim("post", "/v1/abandon", "/v1/abandon", "", 409),
    claim("post", "/v1/rollback", "/v1/rollback", "", 200),
    claim("post", "/v1/rollback", "/v1/rollback", "{\"to\": 2}", 200),
    claim("post", "/v1/rollback", "/v1/rollback", "{\"to\": 9}", 404),
    claim("get", "/v1/generations", "/v1/generations", "", 200),
    claim("get", "/v1/generations/{number}", "/v1/generations/2", "", 200),
    claim("get", "/v1/generations/{number}", "/v1/generations/9", "", 404),
    claim("get", "/v1/generations/{number}", "/v1/generations/last", "", 400),
    claim("get", "/v1/generations/{before}/diff/{after}", "/v1/generations/1/diff/3", "", 200),
    claim("get", "/v1/generations/{before}/diff/{after}", "/v1/generations/1/diff/3?files=true", "", 200),
    claim("get", "/v1/generations/{before}/diff/{after}", "/v1/generations/1/diff/9", "", 404),
    claim("get", "/v1/generations/{before}/diff/{after}", "/v1/generations/1/diff/now", "", 400),
    claim("post", "/v1/generations/verify", "/v1/generations/verify", "", 200),
    claim("post", "/v1/generations/{number}/pin", "/v1/generations/1/pin", "{\"label\": \"good\"}", 204),
    claim("post", "/v1/generations/{number}/pin", "/v1/generations/1/pin", "{\"label\": \" \"}", 400),
    claim("post", "/v1/generations/{number}/pin", "/v1/generations/1/pin", "", 400),
    claim("post", "/v1/generations/{number}/pin", "/v1/generations/9/pin", "{\"label\": \"good\"}", 404),
    claim("post", "/v1/generations/{number}/unpin", "/v1/generations/1/unpin", "", 204),
    claim("post", "/v1/generations/{number}/unpin", "/v1/generations/9/unpin", "", 404),
    claim("post", "/v1/generations/{number}/approve", "/v1/generations/4/approve", "", 200),
    claim("post", "/v1/generations/{number}/approve", "/v1/generations/3/approve", "", 409),
    claim("post", "/v1/generations/{number}/approve", "/v1/generations/9/approve", "", 404),
    claim("post", "/v1/generations/{number}/reject", "/v1/generations/4/reject", "{\"why\": \"no\"}", 200),
    claim("post", "/v1/generations/{number}/reject", "/v1/generations/4/reject", "{\"wy\": \"no\"}", 400),
    claim("get", "/v1/units/{name}/file", "/v1/units/redis/file", "", 200),
    claim("get", "/v1/units/{name}/file", "/v1/units/reids/file", "", 404),
    claim("get", "/v1/units/{name}/file", "/v1/units/web@1/file", "", 409),
    claim("put", "/v1/units/{name}", "/v1/units/redis", "command: [redis-server]\n", 200),
    claim(
        "put",
        "/v1/units/{name}",
        "/v1/units/redis?edited=true&wait=false",
        "command: [redis-server]\n",
        200,
    ),
    claim("put", "/v1/units/{name}", "/v1/units/redis", "restrat: always\n", 422),
    claim("put", "/v1/units/{name}", "/v1/units/mcsup", "", 400),
    claim("put", "/v1/units/{name}", "/v1/units/redis?confirm=1m", "", 400),
    claim("post", "/v1/reexec", "/v1/reexec", "", 200),
    claim("get", "/v1/reexec", "/v1/reexec", "", 200),
    claim("get", "/v1/openapi.json", "/v1/openapi.json", "", 200),
    // The last one, as it ends the fake.
    claim("post", "/v1/shutdown", "/v1/shutdown", "{\"now\": \"yes\"}", 400),
    claim("post", "/v1/shutdown", "/v1/shutdown", "{\"exit_code\": 3}", 200),
];

#[test]
fn every_answer_is_what_the_document_says() {
    let served = Served::new(Fake::new());
    served.keep_generations();
    let document = document();
    let mut answered = BTreeSet::new();
    for claim in CLAIMS {
        let answer = ask(&served, &claim.method.to_uppercase(), claim.path, claim.body);
        let what = format!("{} {} {}: {}", claim.method, claim.path, claim.body, answer.text());
        assert_eq!(answer.status, claim.status, "{what}");
        let said = &document["paths"][claim.route][claim.method]["responses"][claim.status.to_string()];
        answered.insert(format!("{} {}", claim.method, claim.route));
        if claim.status == 204 {
            assert!(said.is_object() && answer.body.is_empty(), "{what}");
            continue;
        }
        let content = said["content"].as_object().unwrap_or_else(|| panic!("not in the document: {what}"));
        let schema = &content.get(&answer.content_type).unwrap_or_else(|| panic!("{what}"))["schema"];
        if answer.content_type.ends_with("json") {
            assert_valid(&document, schema, &answer.json(), &what);
        }
    }
    let documented = document["paths"].as_object().unwrap().iter().flat_map(|(path, item)| {
        item.as_object().unwrap().keys().map(move |method| format!("{method} {path}"))
    });
    assert_eq!(answered, documented.collect::<BTreeSet<_>>(), "every route has a claim");
}

#[test]
fn incidents_are_listed_by_what_is_asked_for() {
    let served = Served::new(Fake::new());
    let ids = |query: &str| {
        let list = ask(&served, "GET", &format!("/v1/incidents{query}"), "").json();
        let ids = list["incidents"].as_array().unwrap().iter().map(|one| one["id"].as_u64().unwrap());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(ids(""), [2, 1], "the newest first");
    assert_eq!(ids("?open"), [2]);
    assert_eq!(ids("?unit=redis"), [1], "its own");
    assert_eq!(ids("?unit=worker"), [2, 1], "its own and what reached it");
    assert_eq!(ids("?since=2026-11-20T06:00:00Z"), [2]);
}

#[test]
fn why_names_the_probable_cause_and_the_fact_that_it_rests_on() {
    let served = Served::new(Fake::new());
    let why = ask(&served, "GET", "/v1/units/worker/why", "").json()["units"][0].clone();
    assert_eq!((why["incident"].as_u64(), why["cause"]["rule"].as_str()), (Some(2), Some("port_in_use")));
    assert_eq!(why["cause"]["rests_on"], "bind: Address already in use");
    assert_eq!(ask(&served, "GET", "/v1/units/redis/why", "").json()["units"][0]["cause"], Value::Null);
}

#[test]
fn the_impact_of_a_unit_is_told_nearest_first_with_how_each_is_bound() {
    let served = Served::new(Fake::new());
    let reaches = ask(&served, "GET", "/v1/units/redis/impact", "").json()["units"][0]["reaches"].clone();
    let told: Vec<_> = reaches.as_array().unwrap().iter().map(|one| one["unit"].as_str().unwrap()).collect();
    assert_eq!(told, ["web@1", "worker"]);
    assert_eq!(reaches[1]["slo"], "99.95%");
    assert_eq!((&reaches[1]["condition"], &reaches[1]["phase"]), (&json!("healthy"), &json!("edge")));
}

#[test]
fn the_name_of_a_group_means_all_its_units() {
    let served = Served::new(Fake::replicas());
    let names = |path: &str, name: &str| {
        let units = ask(&served, "GET", path, "").json()["units"].clone();
        let units = units.as_array().unwrap_or_else(|| panic!("no units at {path}: {units}")).clone();
        units.iter().map(|unit| unit.pointer(name).unwrap().as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("/v1/units/web", "/status/name"), ["web@1", "web@2"]);
    assert_eq!(names("/v1/units/web@2", "/status/name"), ["web@2"]);
    assert_eq!(names("/v1/units/web/why", "/unit"), ["web@1", "web@2"]);
    // What two units wrote would not be told apart.
    let log = ask(&served, "GET", "/v1/units/web/logs", "");
    assert_eq!(log.status, 400);
    assert!(log.text().contains("web@1, web@2"), "{}", log.text());
}

/// Valid, and without any field that the document does not name.
fn assert_valid(document: &Value, schema: &Value, answer: &Value, what: &str) {
    let mut components = document["components"].clone();
    for (_, component) in components["schemas"].as_object_mut().unwrap() {
        if component.get("properties").is_some() {
            component["additionalProperties"] = json!(false);
        }
    }
    let root = json!({"components": components, "allOf": [schema]});
    let validator = jsonschema::validator_for(&root).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(answer).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{what}\n{}", errors.join("\n"));
}

#[test]
fn every_kind_of_event_is_valid_and_numbered() {
    let served = Served::new(Fake::new());
    let answer = ask(&served, "GET", "/v1/events?follow=false", "");
    assert_eq!(answer.content_type, "text/event-stream");
    let document = document();
    let schema = json!({"$ref": "#/components/schemas/Event"});
    let mut kinds = BTreeSet::new();
    for (message, number) in messages(&answer.text()).iter().zip(1..) {
        let event: Value = serde_json::from_str(&message.data).unwrap();
        assert_valid(&document, &schema, &event, &message.data);
        assert_eq!((message.id.parse::<u64>().unwrap(), &event["number"]), (number, &json!(number)));
        assert_eq!(event["kind"], message.event.as_str());
        kinds.insert(message.event.clone());
    }
    assert_eq!(kinds.len(), 13, "{kinds:?}");
}

struct Message {
    id: String,
    event: String,
    data: String,
}

fn messages(text: &str) -> Vec<Message> {
    let field = |message: &str, name: &str| {
        message.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned()
    };
    text.split("\n\n")
        .filter(|message| message.contains("data: "))
        .map(|message| Message {
            id: field(message, "id: "),
            event: field(message, "event: "),
            data: field(message, "data: "),
        })
        .collect()
}

#[test]
fn a_client_goes_on_where_it_stopped() {
    let served = Served::new(Fake::new());
    let ids = |path: &str| -> Vec<String> {
        messages(&ask(&served, "GET", path, "").text()).into_iter().map(|message| message.id).collect()
    };
    assert_eq!(ids("/v1/events?follow=false&after=11"), ["12", "13"]);
    assert!(ids("/v1/events?follow=false&after=latest").is_empty());
    let mut stream = connect(&served);
    stream
        .write_all(b"GET /v1/events?follow=false HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 12\r\nConnection: close\r\n\r\n")
        .unwrap();
    assert_eq!(messages(&read_answer(stream).text())[0].id, "13");
}

#[test]
fn events_that_are_gone_are_said_to_be_missed() {
    let mut fake = Fake::new();
    fake.kept.drain(..9); // 10 to 13 are left
    let served = Served::new(fake);
    let seen = messages(&ask(&served, "GET", "/v1/events?follow=false&after=4", "").text());
    let lagged: Value = serde_json::from_str(&seen[0].data).unwrap();
    assert_eq!((seen[0].event.as_str(), &lagged["missed"]), ("lagged", &json!(5)), "5 to 9");
    assert_eq!(seen[1].id, "10");
    let from_the_start = messages(&ask(&served, "GET", "/v1/events?follow=false", "").text());
    assert_eq!(from_the_start[0].id, "10", "who has seen nothing has missed nothing");
}

#[test]
fn live_events_follow_the_kept_ones_and_none_comes_twice() {
    use mcsup::engine::effect::Fact;
    let fake = Fake::new();
    let live = fake.live.clone();
    let more: Vec<_> = (13..=15).map(|number| fake.record(number, Fact::Booted)).collect();
    let served = Served::new(fake);
    let mut stream = connect(&served);
    stream.write_all(b"GET /v1/events?after=11 HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut seen = read_until(&mut stream, "id: 13");
    for record in more {
        live.send(record).unwrap();
    }
    seen += &read_until(&mut stream, "id: 15");
    let ids: Vec<&str> = seen.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    assert_eq!(ids, ["12", "13", "14", "15"]);
}

fn read_until(stream: &mut UnixStream, wanted: &str) -> String {
    let mut seen = String::new();
    let mut buffer = [0; 4096];
    while !seen.contains(wanted) {
        let got = stream.read(&mut buffer).unwrap();
        assert!(got > 0, "ended before {wanted}: {seen}");
        seen += str::from_utf8(&buffer[..got]).unwrap();
    }
    seen
}

#[test]
fn a_log_is_streamed_byte_by_byte_and_followed() {
    let served = Served::new(Fake::new());
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    served.write_log("redis", "current", &bytes);
    let answer = ask(&served, "GET", "/v1/units/redis/logs", "");
    assert_eq!(answer.content_type, "application/octet-stream");
    assert!(answer.body == bytes, "{} bytes of {}", answer.body.len(), bytes.len());
    served.write_log("redis", "current", b"one\ntwo\n");
    let mut stream = connect(&served);
    stream.write_all(b"GET /v1/units/redis/logs?lines=1&follow=true HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    read_until(&mut stream, "two\n");
    let log = served.home.join("log/redis/current");
    std::fs::OpenOptions::new().append(true).open(log).unwrap().write_all(b"three\n").unwrap();
    read_until(&mut stream, "three\n");
}

#[test]
fn followers_of_logs_that_went_away_give_their_places_back() {
    let served = Served::new(Fake::new());
    served.write_log("redis", "current", b"hello\n");
    let follow = b"GET /v1/units/redis/logs?follow=true HTTP/1.1\r\nHost: x\r\n\r\n";
    let open = || {
        let mut stream = connect(&served);
        stream.write_all(follow).unwrap();
        read_until(&mut stream, "\r\n\r\n")
    };
    let followers: Vec<UnixStream> = (0..16)
        .map(|_| {
            let mut stream = connect(&served);
            stream.write_all(follow).unwrap();
            read_until(&mut stream, "hello\n");
            stream
        })
        .collect();
    assert!(open().starts_with("HTTP/1.1 503"), "the seventeenth is refused");
    drop(followers);
    // Their threads end when they are told of the hang-up, which takes no known time.
    let freed = (0..100_000).any(|_| open().starts_with("HTTP/1.1 200"));
    assert!(freed, "their places were never given back");
}

#[test]
fn a_body_of_10_mb_is_refused_and_the_next_request_served() {
    let served = Served::new(Fake::new());
    for head in ["Content-Length: 10000000", "Transfer-Encoding: chunked"] {
        let mut stream = connect(&served);
        write!(stream, "POST /v1/actions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{head}\r\n\r\n")
            .unwrap();
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        let piece = if head.starts_with("Transfer") { chunk } else { "x".repeat(0x10000) };
        for _ in 0..160 {
            // The server may hang up as soon as it has seen enough.
            if stream.write_all(piece.as_bytes()).is_err() {
                break;
            }
        }
        let mut answer = Vec::new();
        // What was answered before the hang-up can still be read.
        drop(stream.read_to_end(&mut answer));
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 413"), "{head}: {answer}");
        assert!(answer.contains("urn:mcsup:problem:too-large"), "{answer}");
    }
    assert_eq!(ask(&served, "GET", "/v1/ping", "").status, 200);
}

#[test]
fn half_requests_and_rubbish_harm_nobody() {
    let served = Served::new(Fake::new());
    let halves: [&[u8]; 7] = [
        b"",
        b"G",
        b"GET /v1/sta",
        b"GET /v1/status HTTP/1.1\r\nHost: ",
        b"POST /v1/actions HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{\"action\": ",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\0\0\0\0\r\n\r\n",
    ];
    let mut kept = Vec::new();
    for half in halves {
        drop(connect(&served).write_all(half));
        let mut stream = connect(&served);
        stream.write_all(half).unwrap();
        kept.push(stream);
    }
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(200_000));
    // Refused in the middle of it.
    drop(connect(&served).write_all(long.as_bytes()));
    assert_eq!(ask(&served, "GET", "/v1/status", "").json()["units"].as_array().unwrap().len(), 5);
}

#[test]
fn a_thousand_idle_connections_disturb_nobody_and_more_than_the_bound_are_closed() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let served = Served::new(Fake::new());
    let idle: Vec<UnixStream> = (0..1000).map(|_| connect(&served)).collect();
    assert_eq!(ask(&served, "GET", "/v1/ping", "").status, 200);
    let more: Vec<UnixStream> = (0..200).map(|_| connect(&served)).collect();
    let is_closed = |mut stream: &UnixStream| matches!(stream.read(&mut [0]), Ok(0) | Err(_));
    let last = more.last().unwrap();
    assert!(is_closed(last), "one beyond the bound is closed at once");
    drop((idle, more));
    let mut answered = false;
    // The places are free when the server has seen the ends, which takes no known time.
    for _ in 0..100_000 {
        let mut stream = connect(&served);
        let sent = stream.write_all(b"GET /v1/ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let mut answer = Vec::new();
        answered = sent.and_then(|()| stream.read_to_end(&mut answer)).is_ok()
            && answer.starts_with(b"HTTP/1.1 200");
        if answered {
            break;
        }
    }
    assert!(answered, "nobody is served after the crowd has gone");
}

/// On the runtime's own clock, which leaps forward when there is nothing to do.
async fn time_until_hung_up(first: &[u8]) -> (Duration, Vec<u8>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let home = fake::empty_home();
    let listener = tokio::net::UnixListener::bind(home.join("run/mcsup.sock")).unwrap();
    let mut client = tokio::net::UnixStream::connect(home.join("run/mcsup.sock")).await.unwrap();
    let (queries, incoming) = tokio::sync::mpsc::channel(1);
    let (ended, _) = tokio::sync::oneshot::channel();
    let handle = mcsup::supervisor::handle::Handle::new(queries, fake::no_definitions());
    let context = mcsup::api::Context::new(&mcsup::supervisor::home::Home::under(&home));
    let begun = tokio::time::Instant::now();
    let slow = async {
        client.write_all(first).await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let answer = tokio::select! {
        answer = slow => answer,
        () = mcsup::api::serve(listener, handle, context) => unreachable!("it serves for ever"),
        () = Fake::new().run(incoming, ended) => unreachable!("somebody can still ask"),
    };
    drop(std::fs::remove_dir_all(home));
    (begun.elapsed(), answer)
}

#[tokio::test(start_paused = true)]
async fn headers_that_never_end_are_hung_up_on_after_10_s() {
    let (after, _) = time_until_hung_up(b"GET /v1/ping HTTP/1.1\r\nX-Slow: ").await;
    assert_eq!(after.as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_refused_after_10_s() {
    let head = b"POST /v1/actions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 9\r\n\r\n{";
    let (after, answer) = time_until_hung_up(head).await;
    assert_eq!(after.as_secs(), 10);
    assert!(answer.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_is_closed_after_10_s() {
    let (after, _) = time_until_hung_up(b"").await;
    assert_eq!(after.as_secs(), 10);
}

#[test]
fn a_supervisor_that_is_gone_is_an_answer_and_no_silence() {
    let home = fake::empty_home();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (queries, incoming) = tokio::sync::mpsc::channel(1);
    drop(incoming);
    let answer = runtime.block_on(async {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::UnixListener::bind(home.join("run/mcsup.sock")).unwrap();
        let mut client = tokio::net::UnixStream::connect(home.join("run/mcsup.sock")).await.unwrap();
        let context = mcsup::api::Context::new(&mcsup::supervisor::home::Home::under(&home));
        let handle = mcsup::supervisor::handle::Handle::new(queries, fake::no_definitions());
        let ask = async {
            client
                .write_all(b"GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                .await
                .unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            answer
        };
        tokio::select! {
            answer = ask => answer,
            () = mcsup::api::serve(listener, handle, context) => unreachable!("it serves for ever"),
        }
    });
    drop(std::fs::remove_dir_all(home));
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
}

#[test]
fn the_status_of_a_thousand_units_is_one_answer_of_all_of_them() {
    let served = Served::new(Fake::many(1000));
    let status = ask(&served, "GET", "/v1/status", "").json();
    assert_eq!(status["units"].as_array().unwrap().len(), 1000);
    let expected = json!({
        "name": "unit-00007", "kind": "service", "phase": "main", "state": "ready", "desired": "up",
        "reason": "200 in 3 ms", "pid": 1007, "since": "2026-11-20T06:27:48.000Z", "restarts": 0,
        "health": "passing", "last_exit": null, "protected": false, "incident": null
    });
    assert_eq!(status["units"][7], expected);
}

/// What a command run as somebody ends with: 0 done, 4 not permitted.
fn run_as(served: &Served, who: &[&str], environment: Option<(&str, &str)>, command: &[&str]) -> i32 {
    let words: Vec<&str> =
        who.iter().copied().chain(["mcsup", "--home", served.home.to_str().unwrap()]).collect();
    #[expect(clippy::disallowed_methods, reason = "a client is a process of its own")]
    let mut client = std::process::Command::new("env");
    client.env_remove("MCSUP_RUN").env("PATH", format!("{}:/usr/bin:/bin", served.home.display()));
    client.args(environment.map(|(name, value)| format!("{name}={value}"))).args(&words).args(command);
    client.output().unwrap().status.code().unwrap()
}

#[test]
fn the_kernel_says_who_asks_and_the_rules_say_what_they_may() {
    const GROUP: u32 = 54_321;
    let served = Served::with(Fake::new(), |rules| {
        rules.look_gid = || Some(GROUP);
        rules.own_run = None;
    });
    let look: &[&str] = &["why", "redis"];
    let change: &[&str] = &["stop", "redis"];
    fake::program_for_all(&served.home);
    assert_eq!(run_as(&served, &[], None, look), 0);
    assert_eq!(run_as(&served, &[], None, change), 0);
    let unit = Some(("MCSUP_RUN", "web#1:3"));
    assert_eq!(run_as(&served, &[], unit, look), 0, "a process of a unit may look");
    assert_eq!(run_as(&served, &[], unit, change), 4, "and no more");
    if !rustix::process::geteuid().is_root() {
        return; // Only root can be somebody else.
    }
    let stranger = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let member = ["setpriv", "--reuid=65534", "--regid=65534", "--groups=1,54321"];
    assert_eq!(run_as(&served, &stranger, None, look), 4);
    assert_eq!(run_as(&served, &stranger, None, change), 4);
    assert_eq!(run_as(&served, &member, None, look), 0, "a supplementary group counts");
    assert_eq!(run_as(&served, &member, None, change), 4);
}

const STRANGER: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
/// The user `nobody`, as a member of the group that may look.
const MEMBER: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--groups=54321"];

fn with_members(approvers: &[&str]) -> Served {
    let mut fake = Fake::new();
    let mut set = mcsup::unit::spec::UnitSet::clone(&fake.set);
    set.changes.approvers = approvers.iter().map(|name| (*name).into()).collect();
    fake.set = std::sync::Arc::new(set);
    let served = Served::with(fake, |rules| {
        rules.look_gid = || Some(54_321);
        rules.own_run = None;
    });
    served.keep_generations();
    fake::program_for_all(&served.home);
    served
}

#[test]
fn who_may_look_sees_plans_and_generations_but_no_texts_and_changes_nothing() {
    if !rustix::process::geteuid().is_root() {
        return; // Only root can be somebody else.
    }
    let served = with_members(&[]);
    let looks: [&[&str]; 5] = [
        &["plan"],
        &["plan", "--generation", "1"],
        &["generations"],
        &["generations", "2"],
        &["diff", "1", "3"],
    ];
    let others: [&[&str]; 12] = [
        &["plan", "/"],
        &["diff", "1", "3", "--files"],
        &["apply"],
        &["reload"],
        &["confirm"],
        &["abandon"],
        &["rollback"],
        &["approve", "4"],
        &["reject", "4"],
        &["edit", "redis"],
        &["generations", "verify"],
        &["generations", "pin", "1", "--label", "x"],
    ];
    for words in looks {
        assert_eq!(run_as(&served, &MEMBER, None, words), 0, "{words:?}");
        assert_eq!(run_as(&served, &STRANGER, None, words), 4, "{words:?}");
    }
    let unit = Some(("MCSUP_RUN", "web#1:3"));
    for words in others {
        assert_eq!(run_as(&served, &MEMBER, None, words), 4, "{words:?}");
        assert_eq!(run_as(&served, &[], unit, words), 4, "a process of a unit: {words:?}");
    }
}

#[test]
fn where_approvers_are_named_they_alone_approve_and_never_what_they_wrote() {
    if !rustix::process::geteuid().is_root() {
        return; // Only root can be somebody else.
    }
    let (approve, reject): (&[&str], &[&str]) = (&["approve", "4"], &["reject", "4"]);
    let unit = Some(("MCSUP_RUN", "web#1:3"));
    let nobody = with_members(&["nobody"]);
    let root = with_members(&["root"]);
    for words in [approve, reject] {
        assert_eq!(run_as(&nobody, &[], None, words), 4, "root is not named");
        assert_eq!(run_as(&nobody, &STRANGER, None, words), 4, "who may not even look");
        assert_eq!(run_as(&nobody, &MEMBER, unit, words), 4, "a process of a unit");
        assert_eq!(run_as(&nobody, &MEMBER, None, words), 0, "who may otherwise only look");
        assert_eq!(run_as(&root, &MEMBER, None, words), 4, "nobody is not named");
        assert_eq!(run_as(&root, &[], None, words), 4, "root wrote it");
    }
    assert_eq!(run_as(&nobody, &MEMBER, None, &["apply"]), 4, "they approve, and no more");
}

#[test]
fn a_client_that_hangs_up_while_it_waits_leaves_nothing_behind() {
    let served = Served::new(Fake::new());
    for _ in 0..50 {
        let mut stream = connect(&served);
        let body = r#"{"action": "start", "units": ["web@1"]}"#;
        let length = body.len();
        write!(stream, "POST /v1/actions HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}")
            .unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let silent = stream.read(&mut [0]).unwrap_err();
        assert!(matches!(silent.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut), "{silent}");
    }
    assert_eq!(ask(&served, "GET", "/v1/ping", "").status, 200);
}
