//! The state diagram in docs/ARCHITECTURE.md is the one the engine declares.
//! `MCSUP_BLESS=1 cargo test --test states` rewrites it.

use std::fmt::Write as _;

use mcsup::engine::state::{EDGES, StateName};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ARCHITECTURE.md");
const BEGIN: &str = "<!-- states:begin -->\n";
const END: &str = "<!-- states:end -->";

fn diagram() -> String {
    let mut text = "```mermaid\nstateDiagram-v2\n    [*] --> inactive\n".to_owned();
    for (from, to, why) in EDGES {
        writeln!(text, "    {from} --> {to}: {why}").expect("writing to a string");
    }
    text + "```\n"
}

#[test]
fn the_diagram_in_the_docs_is_the_declared_table() {
    let page = std::fs::read_to_string(PAGE).expect("docs/ARCHITECTURE.md");
    let (head, rest) = page.split_once(BEGIN).expect("the begin mark");
    let (_, tail) = rest.split_once(END).expect("the end mark");
    let wanted = format!("{head}{BEGIN}{}{END}{tail}", diagram());
    if std::env::var_os("MCSUP_BLESS").is_some() {
        std::fs::write(PAGE, &wanted).expect("writing docs/ARCHITECTURE.md");
    }
    assert!(page == wanted || std::env::var_os("MCSUP_BLESS").is_some(), "stale: run with MCSUP_BLESS=1");
}

#[test]
fn every_state_can_be_entered_and_left() {
    for state in StateName::ALL {
        assert!(
            state == StateName::Inactive || EDGES.iter().any(|(_, to, _)| *to == state),
            "{state} is never entered"
        );
        assert!(EDGES.iter().any(|(from, _, _)| *from == state), "{state} is never left");
    }
}

#[test]
fn no_edge_is_declared_twice() {
    for (index, (from, to, _)) in EDGES.iter().enumerate() {
        let twins = EDGES.iter().skip(index + 1).filter(|(a, b, _)| (a, b) == (from, to)).count();
        assert_eq!(twins, 0, "{from} -> {to}");
    }
}
