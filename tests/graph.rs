//! Order, impact and drawings of the dependency graph.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use mcsup::graph::{self, Format, Graph};
use mcsup::unit::SourceFile;
use mcsup::unit::spec::{PhaseId, UnitId, UnitSet};
use proptest::prelude::*;

fn set(files: &[(&str, &str)]) -> UnitSet {
    let mut sources: Vec<SourceFile> = files
        .iter()
        .map(|(name, text)| SourceFile { name: format!("{name}.yaml"), bytes: (*text).into() })
        .collect();
    sources.sort_by(|one, two| one.name.cmp(&two.name));
    let loaded = graph::load(&sources);
    loaded.set.unwrap_or_else(|| panic!("{:#?}", loaded.diagnostics))
}

fn web_stack() -> UnitSet {
    set(&[
        ("mcsup", "phases: [storage, core, app]\n"),
        ("initdb", "kind: task\ncommand: [x]\nphase: storage\n"),
        ("postgres", "command: [x]\nphase: core\nhealth: {tcp: 5432}\ndepends_on: [initdb]\n"),
        ("redis", "command: [x]\nphase: core\nhealth: {tcp: 6379}\nconflicts: [valkey]\n"),
        ("valkey", "command: [x]\nphase: core\nenabled: false\n"),
        ("web", "command: [x]\ndepends_on: {postgres: healthy, redis: {required: false, follow: restart}}\n"),
        (
            "proxy",
            "command: [x]\nblocks_phase: false\ndepends_on: [web]\ndescription: '<front> & \"door\"'\n",
        ),
    ])
}

fn names(set: &UnitSet, ids: impl IntoIterator<Item = UnitId>) -> Vec<String> {
    ids.into_iter().map(|id| set.unit(id).unwrap().name.to_string()).collect()
}

#[test]
fn units_start_after_their_phase_and_dependencies_and_stop_in_exact_reverse() {
    let set = web_stack();
    let graph = Graph::new(&set);
    let start = names(&set, graph.start_order(&set));
    assert_eq!(start, ["initdb", "postgres", "redis", "valkey", "web", "proxy"]);
    let mut stop = names(&set, graph.stop_order(&set));
    stop.reverse();
    assert_eq!(stop, start);
}

#[test]
fn what_lies_behind_a_unit_comes_nearest_first_and_ends_within_reach_but_for_what_it_names_itself() {
    let stack = web_stack();
    let proxy = stack.find("proxy").unwrap();
    let behind = names(&stack, Graph::new(&stack).behind(&stack, proxy));
    assert_eq!(behind, ["web", "postgres", "redis", "initdb"]);

    let mut files: Vec<(String, String)> = (0..300)
        .map(|at| {
            (
                format!("u{at:03}"),
                if at == 0 {
                    "command: [x]\n".to_owned()
                } else {
                    format!("command: [x]\ndepends_on: [u{:03}]\n", at - 1)
                },
            )
        })
        .collect();
    let wide: Vec<String> = (0..150).map(|at| format!("u{at:03}")).collect();
    files.push(("wide".to_owned(), format!("command: [x]\ndepends_on: [{}]\n", wide.join(", "))));
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let set = set(&files);
    let graph = Graph::new(&set);
    let last = names(&set, graph.behind(&set, set.find("u299").unwrap()));
    assert_eq!((last.len(), last[0].as_str(), last[99].as_str()), (graph::REACH, "u298", "u199"));
    assert_eq!(names(&set, graph.behind(&set, set.find("wide").unwrap())), wide);
    assert_eq!(graph.behind(&set, set.find("u000").unwrap()).count(), 0);
}

#[test]
fn every_edge_is_seen_from_its_other_end() {
    let set = web_stack();
    let graph = Graph::new(&set);
    let find = |name: &str| set.find(name).unwrap();
    let dependents = graph.dependents(find("redis"));
    assert_eq!(names(&set, dependents.iter().map(|dependent| dependent.unit)), ["web"]);
    assert!(!dependents[0].required);
    assert_eq!(graph.conflicts_of(find("redis")), [find("valkey")]);
    assert_eq!(graph.conflicts_of(find("valkey")), [find("redis")], "said by one, meant by both");
    assert_eq!(names(&set, graph.units_of(PhaseId(1)).iter().copied()), ["postgres", "redis", "valkey"]);
    assert_eq!(graph.dependents(UnitId(99)), []);
    assert_eq!(graph.units_of(PhaseId(9)), []);
}

#[test]
fn impact_reaches_through_others_and_says_what_can_do_without() {
    let set = web_stack();
    let graph = Graph::new(&set);
    let impact = |name: &str| -> Vec<(String, u32, bool)> {
        let found = graph.impact(set.find(name).unwrap());
        found.iter().map(|one| (names(&set, [one.unit]).remove(0), one.distance, one.required)).collect()
    };
    let one = |name: &str, distance: u32, required: bool| (name.to_string(), distance, required);
    assert_eq!(impact("initdb"), [one("postgres", 1, true), one("web", 2, true), one("proxy", 3, true)]);
    assert_eq!(impact("redis"), [one("web", 1, false), one("proxy", 2, false)]);
    assert_eq!(impact("proxy"), []);
}

#[test]
fn a_binding_way_is_not_hidden_by_a_shorter_weak_one() {
    let set = set(&[
        ("a", "command: [x]\n"),
        ("b", "command: [x]\ndepends_on: [a]\n"),
        ("c", "command: [x]\ndepends_on: {a: {required: false}, b: started}\n"),
    ]);
    let impact = Graph::new(&set).impact(set.find("a").unwrap());
    assert_eq!(impact.iter().map(|one| one.required).collect::<Vec<_>>(), [true, true]);
}

#[test]
fn a_ring_of_ten_thousand_units_is_found_without_recursion() {
    let sources: Vec<SourceFile> = (0..10_000)
        .map(|number| SourceFile {
            name: format!("u{number:05}.yaml"),
            bytes: format!("command: [x]\ndepends_on: [u{:05}]\n", (number + 1) % 10_000).into_bytes(),
        })
        .collect();
    let loaded = graph::load(&sources);
    assert_eq!(loaded.diagnostics.len(), 1);
    assert!(
        loaded.diagnostics[0].message.starts_with("these units wait for each other: u00000 -> u00001 -> ")
    );
}

#[test]
fn the_text_says_what_each_unit_waits_for() {
    let set = web_stack();
    assert_eq!(
        Graph::new(&set).draw(&set, Format::Text),
        "\
phase storage
  initdb    task

phase core
  postgres  service   after initdb (completed)
  redis     service   never with valkey
  valkey    service   never with redis; not enabled

phase app
  web       service   after postgres (healthy), redis (healthy, if it can come, restarts with it)
  proxy     service   after web (started); the next phase does not wait for it
"
    );
}

#[test]
fn mermaid_and_dot_name_every_unit_edge_and_conflict() {
    let set = web_stack();
    let graph = Graph::new(&set);
    assert_eq!(
        graph.draw(&set, Format::Mermaid),
        "\
flowchart LR
  subgraph p0[\"storage\"]
    u0[\"initdb\"]
  end
  subgraph p1[\"core\"]
    u1(\"postgres\")
    u3(\"redis\")
    u4(\"valkey\"):::disabled
  end
  subgraph p2[\"app\"]
    u2(\"proxy\")
    u5(\"web\")
  end
  u0 -->|completed| u1
  u5 -->|started| u2
  u1 -->|healthy| u5
  u3 -.->|healthy| u5
  u3 x--x|conflicts| u4
  classDef disabled stroke-dasharray: 4 3,color:#888
"
    );
    let dot = graph.draw(&set, Format::Dot);
    for line in [
        "subgraph \"cluster_core\"",
        "\"initdb\" [style=solid];",
        "\"redis\" -> \"web\" [label=\"healthy\", style=dashed];",
        "\"redis\" -> \"valkey\" [dir=none",
    ] {
        assert!(dot.contains(line), "{line} is not in\n{dot}");
    }
    assert_eq!(dot.matches('{').count(), dot.matches('}').count());
}

#[test]
fn the_drawing_is_well_formed_and_always_the_same() {
    let set = web_stack();
    let svg = Graph::new(&set).draw(&set, Format::Svg);
    assert_eq!(svg, Graph::new(&web_stack()).draw(&set, Format::Svg));
    assert_eq!(svg.matches("<rect class=\"unit").count(), 6);
    assert_eq!(svg.matches("<rect class=\"band").count(), 3);
    assert_eq!(svg.matches("<path class=\"edge").count(), 4);
    assert!(svg.contains("&lt;front&gt; &amp; &quot;door&quot;"));
    for tag in ["svg", "g", "text", "title", "path", "defs", "marker", "style"] {
        let opened = svg.matches(&format!("<{tag} ")).count() + svg.matches(&format!("<{tag}>")).count();
        let self_closed = svg
            .split('<')
            .filter(|part| part.starts_with(&format!("{tag} ")) && part.trim_end().ends_with("/>"))
            .count();
        assert_eq!(opened, svg.matches(&format!("</{tag}>")).count() + self_closed, "{tag}");
    }
}

/// A pipeline of jobs, whose first step has a schedule.
fn pipeline() -> UnitSet {
    set(&[
        ("mcsup", "phases: [core, jobs]\nhooks: {listen: '127.0.0.1:8787'}\n"),
        ("redis", "command: [x]\nphase: core\n"),
        ("create", "kind: job\ncommand: [x]\nschedule: '0 9 * * *'\ndepends_on: [redis]\n"),
        ("analyse", "kind: job\ncommand: [x]\nafter: {post: finished, create: failed}\n"),
        ("post", "kind: job\ncommand: [x]\nafter: create\nwebhook: {secret_file: k}\n"),
    ])
}

#[test]
fn drawings_show_when_jobs_run_and_who_runs_after_whom() {
    let set = pipeline();
    let graph = Graph::new(&set);
    assert_eq!(
        graph.draw(&set, Format::Text),
        "\
phase core
  redis    service

phase jobs
  analyse  job       runs when post finished and create failed
  create   job       after redis (started); runs at 09:00 every day (UTC)
  post     job       runs when create succeeded, or on POST /v1/hooks/post
"
    );
    let mermaid = graph.draw(&set, Format::Mermaid);
    for line in ["u1[[\"create\"]]", "u2 ==>|finished| u0", "u1 ==>|failed| u0", "u1 ==>|succeeded| u2"] {
        assert!(mermaid.contains(line), "{line} is not in\n{mermaid}");
    }
    let dot = graph.draw(&set, Format::Dot);
    assert!(dot.contains("\"create\" -> \"post\" [label=\"succeeded\", style=bold, color=purple];"), "{dot}");
    let svg = graph.draw(&set, Format::Svg);
    assert_eq!(svg.matches("<path class=\"edge follows\" marker-end=\"url(#to-follows)\"").count(), 3);
    assert!(svg.contains("<title>post runs when create succeeded</title>"), "{svg}");
    let columns = graph.depths(&set);
    let depth = |name: &str| columns[usize::try_from(set.find(name).unwrap().0).unwrap()];
    assert_eq!((depth("create"), depth("post"), depth("analyse")), (0, 1, 2), "edges go to the right");
}

#[test]
fn no_two_boxes_of_the_drawing_overlap() {
    let mut files: Vec<(String, String)> =
        (0..60).map(|number| (format!("unit-{number}"), "command: [x]\n".to_string())).collect();
    files.push(("a-rather-long-name-of-a-unit-that-others-need".into(), "command: [x]\n".into()));
    files.push((
        "last".into(),
        "command: [x]\ndepends_on: [unit-1, unit-59, a-rather-long-name-of-a-unit-that-others-need]\n".into(),
    ));
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let set = set(&files);
    let svg = Graph::new(&set).draw(&set, Format::Svg);
    let boxes: Vec<[u64; 4]> = svg
        .split("<rect class=\"unit")
        .skip(1)
        .map(|part| {
            ["x", "y", "width", "height"].map(|name| {
                let (_, rest) = part.split_once(&format!(" {name}=\"")).unwrap();
                rest.split_once('"').unwrap().0.parse().unwrap()
            })
        })
        .collect();
    assert_eq!(boxes.len(), 62);
    for (at, [x, y, width, height]) in boxes.iter().enumerate() {
        for [other_x, other_y, other_width, other_height] in &boxes[at + 1..] {
            let apart = x + width <= *other_x
                || other_x + other_width <= *x
                || y + height <= *other_y
                || other_y + other_height <= *y;
            assert!(apart, "{:?} {:?}", [x, y, width, height], [other_x, other_y]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any graph whose edges point to lower numbers and no later phase has an order that keeps them all.
    #[test]
    fn every_order_keeps_every_edge_and_every_barrier(
        units in prop::collection::vec((0_u16..3, prop::collection::vec(any::<prop::sample::Index>(), 0..4)), 1..40)
    ) {
        let mut phases: Vec<u16> = units.iter().map(|(phase, _)| *phase).collect();
        phases.sort_unstable();
        let mut sources = vec![SourceFile { name: "mcsup.yaml".into(), bytes: b"phases: [p0, p1, p2]".to_vec() }];
        for (number, ((_, targets), phase)) in units.iter().zip(&phases).enumerate() {
            let mut names: Vec<String> = match number {
                0 => Vec::new(),
                below => targets.iter().map(|target| format!("u{}", target.index(below))).collect(),
            };
            names.sort_unstable();
            names.dedup();
            let text = format!("command: [x]\nphase: p{phase}\ndepends_on: [{}]\n", names.join(", "));
            sources.push(SourceFile { name: format!("u{number}.yaml"), bytes: text.into_bytes() });
        }
        let loaded = graph::load(&sources);
        prop_assert_eq!(&loaded.diagnostics, &vec![]);
        let set = loaded.set.unwrap();
        let graph = Graph::new(&set);
        let order = graph.start_order(&set);
        prop_assert_eq!(order.len(), set.units.len());
        let position = |unit: UnitId| order.iter().position(|other| *other == unit).unwrap();
        for (id, unit) in set.ids().zip(&set.units) {
            for edge in &unit.depends_on {
                prop_assert!(position(edge.unit) < position(id));
                prop_assert!(graph.dependents(edge.unit).iter().any(|dependent| dependent.unit == id));
            }
        }
        let phases: Vec<_> = order.iter().map(|unit| set.unit(*unit).unwrap().phase).collect();
        prop_assert!(phases.is_sorted());
        graph.draw(&set, Format::Svg);
    }
}
