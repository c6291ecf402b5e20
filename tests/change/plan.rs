//! What a change will do, to whom, and why.

use std::collections::BTreeSet;

use mcsup::graph::{self, Action, Because, Graph, Plan};
use mcsup::unit::SourceFile;
use mcsup::unit::difference::{Class, run_fingerprint};
use mcsup::unit::spec::{Follow, UnitId, UnitSet};
use proptest::prelude::*;

use crate::sets::{change, set};

type Files<'a> = &'a [(&'a str, &'a str)];

/// The merged set and the way to it.
fn planned(before: Files<'_>, after: Files<'_>) -> (UnitSet, UnitSet, Plan) {
    let before = set(before);
    let after = before.followed_by(&set(after)).set;
    let plan = Plan::new(&before, &after);
    (before, after, plan)
}

/// As one line each: "web follow-restart of redis: command"
fn lines(before: Files<'_>, after: Files<'_>) -> Vec<String> {
    let (_, set, plan) = planned(before, after);
    let name = |id: UnitId| set.unit(id).unwrap().name.to_string();
    let action = |action: &Action| match action {
        Action::Start => "start".to_owned(),
        Action::Add => "add".to_owned(),
        Action::Remove => "remove".to_owned(),
        Action::Restart => "restart".to_owned(),
        Action::Enable => "enable".to_owned(),
        Action::Disable => "disable".to_owned(),
        Action::Live => "live".to_owned(),
        Action::Metadata => "metadata".to_owned(),
        Action::Rename { was } => format!("rename from {was}"),
        Action::FollowRestart => "follow-restart".to_owned(),
        Action::FollowStop => "follow-stop".to_owned(),
    };
    plan.steps
        .iter()
        .map(|step| {
            let because = match step.because {
                Because::Itself => String::new(),
                Because::Follows(other) => format!(" of {}", name(other)),
            };
            let paths: Vec<&str> = step.differences.iter().map(|one| one.path.as_str()).collect();
            let paths = if paths.is_empty() { String::new() } else { format!(": {}", paths.join(", ")) };
            format!("{} {}{because}{paths}", name(step.unit), action(&step.action))
        })
        .collect()
}

fn names(set: &UnitSet, ids: impl IntoIterator<Item = UnitId>) -> Vec<String> {
    ids.into_iter().map(|id| set.unit(id).unwrap().name.to_string()).collect()
}

#[test]
fn each_kind_of_change_has_its_action() {
    let x = "command: [x]";
    for (before, after, action) in [
        (vec![], vec![("a", x)], "a start"),
        (vec![], vec![("a", "command: [x]\nenabled: false")], "a add"),
        (vec![("a", x)], vec![], "a remove"),
        (vec![("a", x)], vec![("a", "command: [y]")], "a restart: command"),
        (vec![("a", x)], vec![("a", "command: [x]\nhealth: {tcp: 1}")], "a live: ready, health[0]"),
        (vec![("a", x)], vec![("a", "command: [x]\nlabels: {a: b}")], "a metadata: labels.a"),
        (vec![("a", x)], vec![("b", x)], "b rename from a: name"),
        (vec![("a", x)], vec![("a", "command: [y]\nenabled: false\n")], "a disable: enabled, command"),
        (vec![("a", "command: [x]\nenabled: false")], vec![("a", x)], "a enable: enabled"),
        (
            vec![("a", x)],
            vec![("a", "kind: task\ncommand: [x]")],
            "a restart: kind, start_timeout, recover.rungs[0], restart.policy",
        ),
        (
            vec![("a", "kind: job\ncommand: [x]\nevery: 1h")],
            vec![("a", "kind: job\ncommand: [y]\nevery: 2h\nenvironment: {A: b}")],
            "a live: command, every, environment.A",
        ),
    ] {
        assert_eq!(lines(&before, &after), [action]);
    }
}

#[test]
fn who_follows_a_restart_is_in_the_plan_along_the_whole_chain() {
    let with = |command: &'static str| {
        [
            ("db", command),
            ("app", "command: [x]\ndepends_on: {db: {follow: restart}}"),
            ("batch", "command: [x]\ndepends_on: {app: {follow: stop}}"),
            ("needs", "command: [x]\ndepends_on: [batch]"),
            ("proxy", "command: [x]\ndepends_on: {app: {follow: restart, required: false}}"),
            ("aside", "command: [x]\ndepends_on: [db]"),
            ("report", "command: [x]\ndepends_on: {needs: {required: false, follow: restart}}"),
        ]
    };
    assert_eq!(
        lines(&with("command: [x]"), &with("command: [y]")),
        [
            "db restart: command",
            "app follow-restart of db",
            "batch follow-stop of app",
            "needs follow-stop of batch",
            "proxy follow-restart of app",
        ]
    );
    // What holds from now on ends nobody.
    assert_eq!(lines(&with("command: [x]"), &with("command: [x]\nslo: 99%")), ["db live: slo"]);
}

#[test]
fn an_edge_that_goes_with_the_change_counts_for_who_stays() {
    let dependent = "command: [x]\ndepends_on: {db: {follow: restart}}";
    let free = "command: [x]";
    assert_eq!(
        lines(&[("db", "command: [x]"), ("app", dependent)], &[("app", free)]),
        ["app follow-restart of db: depends_on.db", "db remove"]
    );
    assert_eq!(
        lines(&[("db", "command: [x]"), ("app", dependent)], &[("db", "command: [y]"), ("app", free)]),
        ["app follow-restart of db: depends_on.db", "db restart: command"]
    );
    // Who only required what goes does not notice.
    assert_eq!(
        lines(&[("db", "command: [x]"), ("app", "command: [x]\ndepends_on: [db]")], &[("app", free)]),
        ["app live: depends_on.db", "db remove"]
    );
}

#[test]
fn what_is_disabled_goes_down_unless_an_enabled_unit_requires_it() {
    let of = |db: &'static str, app: &'static str| {
        [("db", db), ("app", app), ("web", "command: [x]\ndepends_on: {app: {required: false}}")]
    };
    let (app, no_app) = ("command: [x]\ndepends_on: [db]", "command: [x]\ndepends_on: [db]\nenabled: false");
    let (db, no_db) = ("command: [x]", "command: [x]\nenabled: false");
    // A boot would start it as well.
    assert_eq!(lines(&of(db, app), &of(no_db, app)), ["db live: enabled"]);
    assert_eq!(lines(&of(db, no_app), &of(no_db, no_app)), ["db disable: enabled", "app follow-stop of db"]);
    assert_eq!(lines(&of(no_db, app), &of(no_db, no_app)), ["app disable: enabled"]);
}

#[test]
fn what_must_stay_down_is_not_restarted_for_its_own_change() {
    let with = |db: &'static str, app: &'static str| [("db", db), ("app", app)];
    let (old, new) =
        ("command: [x]\ndepends_on: {db: {follow: stop}}", "command: [y]\ndepends_on: {db: {follow: stop}}");
    assert_eq!(
        lines(&with("command: [x]", old), &with("command: [y]", new)),
        ["db restart: command", "app follow-stop of db: command"]
    );
    assert_eq!(lines(&with("command: [x]", old), &with("command: [x]", new)), ["app restart: command"]);
}

#[test]
fn steps_stand_in_the_order_of_starts_and_what_goes_in_that_of_stops() {
    let before: Files<'_> = &[
        ("mcsup", "phases: [early, late]"),
        ("a", "command: [x]"),
        ("b", "command: [x]\nphase: early"),
        ("y", "command: [x]"),
        ("z", "command: [x]\ndepends_on: [y]"),
    ];
    let after: Files<'_> = &[
        ("mcsup", "phases: [early, late]"),
        ("a", "command: [y]\ndepends_on: [c]"),
        ("b", "command: [y]\nphase: early"),
        ("c", "command: [new]"),
    ];
    assert_eq!(
        lines(before, after),
        ["b restart: command", "c start", "a restart: command, depends_on.c", "z remove", "y remove"]
    );
    let (_, merged, plan) = planned(before, after);
    assert_eq!(names(&merged, plan.restarts()), ["b", "a"]);
    assert_eq!(names(&merged, plan.removals()), ["z", "y"]);
    assert_eq!(plan.stops().count(), 0);
}

#[test]
fn affected_is_who_is_touched_and_who_requires_it() {
    let with = |db: &'static str| {
        [
            ("db", db),
            ("app", "command: [x]\ndepends_on: [db]"),
            ("web", "command: [x]\ndepends_on: [app]"),
            ("stats", "command: [x]\ndepends_on: {db: {required: false}}"),
            ("other", "command: [x]"),
        ]
    };
    let affected = |db| {
        let (_, merged, plan) = planned(&with("command: [x]"), &with(db));
        names(&merged, plan.affected(&Graph::new(&merged)))
    };
    assert_eq!(affected("command: [y]"), ["app", "db", "web"]);
    assert_eq!(affected("command: [x]\ndescription: y"), Vec::<String>::new());
}

#[test]
fn what_is_protected_waits_for_approval_and_so_does_taking_the_protection_away() {
    let (open, closed) = ("command: [x]", "command: [x]\nprotected: true");
    for (before, after, waits) in [
        (closed, "command: [y]\nprotected: true", true),
        (closed, "command: [y]", true),
        (open, "command: [y]\nprotected: true", true),
        (closed, open, true),
        (open, closed, false),
        (closed, "command: [x]\nprotected: true\ndescription: y", false),
        (open, "command: [y]", false),
    ] {
        let (before, after, plan) = planned(&[("a", before)], &[("a", after)]);
        assert_eq!(plan.protected(&before, &after).len(), usize::from(waits), "{:?}", plan.steps);
    }
    // Who only follows is touched as well.
    let with = |db: &'static str| {
        [("db", db), ("app", "command: [x]\nprotected: true\ndepends_on: {db: {follow: restart}}")]
    };
    let (before, after, plan) = planned(&with("command: [x]"), &with("command: [y]"));
    assert_eq!(names(&after, plan.protected(&before, &after)), ["app"]);
    let (before, after, plan) = planned(&[("a", closed)], &[]);
    assert_eq!(names(&after, plan.protected(&before, &after)), ["a"], "its removal too");
}

#[test]
fn a_unit_that_comes_back_starts_again() {
    let all = set(&[("a", "command: [x]"), ("b", "command: [x]\ndepends_on: [a]")]);
    let less = all.followed_by(&set(&[("a", "command: [x]")])).set;
    let back = less.followed_by(&all).set;
    let plan = Plan::new(&less, &back);
    assert_eq!(plan.steps.iter().map(|step| step.action.clone()).collect::<Vec<_>>(), [Action::Start]);
    assert!(Plan::new(&less, &less).is_empty(), "what is gone already does not go again");
}

#[test]
fn case_39_a_change_without_effect_has_no_step() {
    let before = "command: [x, y]\nenvironment: {A: b, C: d}\nhealth: {tcp: 80}";
    let after =
        "# comment\nhealth:\n  - tcp: 127.0.0.1:80\nenvironment: {C: d, A: b}\ncommand: x y\nenabled: true";
    let (before, after, plan) = planned(&[("a", before)], &[("a", after)]);
    assert!(plan.is_empty(), "{plan:#?}");
    assert_ne!(before, after, "it stands elsewhere in its file");
}

#[test]
fn case_39_what_only_people_read_restarts_nobody() {
    let dependent = ("b", "command: [x]\ndepends_on: {a: {follow: restart}}");
    let after = "command: [x]\ndescription: web\nlabels: {team: ops}\nrunbook: https://h/a";
    let (_, _, plan) = planned(&[("a", "command: [x]"), dependent], &[("a", after), dependent]);
    assert_eq!(plan.steps.iter().map(|step| &step.action).collect::<Vec<_>>(), [&Action::Metadata]);
    assert_eq!((plan.restarts().count(), plan.touched().len()), (0, 0));
}

#[test]
fn case_39_two_units_that_change_together_are_one_plan() {
    let files = |command: &'static str| {
        [("a", command), ("b", "command: [x]"), ("c", command), ("d", "command: [x]\ndepends_on: [a, c]")]
    };
    assert_eq!(
        lines(&files("command: [x]"), &files("command: [y]")),
        ["a restart: command", "c restart: command"]
    );
}

/// The errors that keep a change from being planned.
fn refused(files: Files<'_>) -> Vec<String> {
    let source =
        |(name, text): &(&str, &str)| SourceFile { name: format!("{name}.yaml"), bytes: (*text).into() };
    let loaded = graph::load(&files.iter().map(source).collect::<Vec<_>>());
    assert!(loaded.set.is_none());
    loaded.diagnostics.into_iter().map(|diagnostic| diagnostic.message).collect()
}

#[test]
fn case_39_a_new_circle_is_refused_with_its_way() {
    let files = [
        ("a", "command: [x]\ndepends_on: [c]"),
        ("b", "command: [x]\ndepends_on: [a]"),
        ("c", "command: [x]\ndepends_on: [b]"),
    ];
    assert_eq!(refused(&files), ["these units wait for each other: a -> c -> b -> a"]);
}

#[test]
fn case_39_a_unit_gone_that_others_need_is_refused() {
    set(&[("a", "command: [x]"), ("b", "command: [x]\ndepends_on: [a]")]);
    assert_eq!(refused(&[("b", "command: [x]\ndepends_on: [a]")]), ["there is no unit named `a`"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn who_is_not_in_the_plan_is_the_same_and_follows_nobody_who_ends((one, two) in change()) {
        let after = one.followed_by(&two).set;
        let plan = Plan::new(&one, &after);
        prop_assert!(Plan::new(&one, &one).is_empty() && Plan::new(&after, &after).is_empty());
        let planned: BTreeSet<UnitId> = plan.steps.iter().map(|step| step.unit).collect();
        prop_assert_eq!(planned.len(), plan.steps.len(), "each has one step");
        let ends: BTreeSet<UnitId> = plan.restarts().chain(plan.removals()).collect();
        for id in after.ids() {
            let (before, now) = (one.unit(id).filter(|unit| !unit.is_removed), after.unit(id).unwrap());
            let was_and_is = before.filter(|_| !now.is_removed);
            let is_same = match was_and_is {
                Some(before) => before.fingerprint == now.fingerprint,
                None => before.is_none() && now.is_removed,
            };
            let follows = now.depends_on.iter().any(|edge| edge.follow != Follow::None && ends.contains(&edge.unit));
            prop_assert!(planned.contains(&id) || (is_same && !follows), "{} is not in the plan", now.name);
            if let Some(before) = was_and_is
                && run_fingerprint(before) != run_fingerprint(now)
                && before.enabled && now.enabled && before.name == now.name
            {
                let ends = plan.restarts().chain(plan.stops()).any(|unit| unit == id);
                prop_assert!(ends, "{} runs on as it was", now.name);
            }
        }
    }

    #[test]
    fn every_step_has_its_reason((one, two) in change()) {
        let after = one.followed_by(&two).set;
        let plan = Plan::new(&one, &after);
        let action = |unit: UnitId| plan.steps.iter().find(|step| step.unit == unit).map(|step| &step.action);
        for step in &plan.steps {
            let worst = step.differences.iter().map(|one| one.class).max();
            match (&step.action, step.because) {
                (Action::FollowRestart | Action::FollowStop, Because::Follows(other)) => {
                    let is_end = !matches!(
                        action(other),
                        None | Some(Action::Live | Action::Metadata | Action::Rename { .. } | Action::Start | Action::Add)
                    );
                    prop_assert!(is_end, "{:?} follows what does not end", step);
                }
                (Action::Start | Action::Add | Action::Remove, Because::Itself) => prop_assert!(worst.is_none()),
                (Action::Restart, Because::Itself) => prop_assert_eq!(worst, Some(Class::Restart)),
                (Action::Live, Because::Itself) => prop_assert_eq!(worst, Some(Class::Live)),
                (Action::Metadata, Because::Itself) => prop_assert_eq!(worst, Some(Class::Metadata)),
                (Action::Enable | Action::Disable, Because::Itself) => prop_assert!(worst >= Some(Class::Live)),
                (Action::Rename { .. }, Because::Itself) => prop_assert!(step.differences.iter().any(|one| one.key == "name")),
                (_, _) => prop_assert!(false, "{:?} for no reason", step),
            }
        }
        let graph = Graph::new(&after);
        let affected = plan.affected(&graph);
        prop_assert!(plan.touched().is_subset(&affected));
        let removed: BTreeSet<UnitId> = plan.removals().collect();
        let order = graph.start_order(&after);
        let places: Vec<usize> = plan
            .steps
            .iter()
            .filter(|step| !removed.contains(&step.unit))
            .map(|step| order.iter().position(|unit| *unit == step.unit).unwrap())
            .collect();
        prop_assert!(places.is_sorted(), "in the order of starts");
    }
}
