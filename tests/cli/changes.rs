//! Changes as people ask for them.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn with_generations() -> Served {
    let served = Served::new(Fake::new());
    served.keep_generations();
    served
}

#[test]
fn a_plan_reads_like_a_diff_and_ends_with_the_sum() {
    let served = Served::new(Fake::new());
    let output = mcsup(&served.home, &["plan"]);
    assert_ends(&output, 0);
    assert_golden("plan.txt", &said(&output));
    let plan = mcsup(&served.home, &["plan", "--json"]);
    let plan: serde_json::Value = serde_json::from_slice(&plan.stdout).unwrap();
    assert_eq!(plan["steps"][0]["action"], "restart", "{plan:#}");
    assert_eq!(plan["approval"], serde_json::json!(["redis"]));
    assert!(!plan.to_string().contains("API_TOKEN"), "what does not differ is not told: {plan:#}");
}

#[test]
fn a_directory_that_cannot_be_used_is_answered_with_all_that_is_wrong() {
    let served = Served::new(Fake::new());
    let broken = served.home.join("broken");
    std::fs::create_dir(&broken).unwrap();
    for words in [["plan"], ["apply"]] {
        let words = [&words[..], &[broken.to_str().unwrap()]].concat();
        let output = mcsup(&served.home, &words);
        assert_ends(&output, 1);
        assert!(said(&output).contains("error[unknown-key]"), "{words:?}: {}", said(&output));
        assert!(complained(&output).contains("1 error; what runs is not touched"), "{}", complained(&output));
        let json = mcsup(&served.home, &[&words[..], &["--json"]].concat());
        assert_ends(&json, 1);
        let document: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
        assert_eq!(document["type"], "urn:mcsup:problem:invalid-units");
    }
    for words in [["plan"], ["apply"]] {
        let output = mcsup(&served.home, &[&words[..], &["/nonexistent"]].concat());
        assert_ends(&output, 1);
        assert!(complained(&output).contains("cannot read /nonexistent: No such file"));
    }
}

#[test]
fn what_came_of_a_change_is_said_and_is_the_exit_status() {
    let served = with_generations();
    let protected = served.home.join("protected");
    std::fs::create_dir(&protected).unwrap();
    let protected = protected.to_str().unwrap();
    let sum = "2 restart, 1 starts, 1 goes, settings change; 1 untouched";
    let cases: [(&[&str], i32, String); 12] = [
        (&["apply"], 0, format!("generation 3 is committed: {sum}\n")),
        (&["apply", "--no-wait"], 0, "it is begun; `mcsup generations` tells what comes of it\n".to_owned()),
        (&["apply", "--confirm", "10m"], 0, "goes back by itself unless `mcsup confirm` comes".to_owned()),
        (&["apply", protected], 1, "generation 4 waits for `mcsup approve 4`: it changes redis\n".to_owned()),
        (&["reload"], 0, "generation 3 is committed".to_owned()),
        (
            &["rollback", "2"],
            1,
            "generation 3 is rolled back: web is failed: exited with 1; generation 1 is in force again\n"
                .to_owned(),
        ),
        (&["rollback"], 1, "is rolled back".to_owned()),
        (&["confirm"], 0, "is confirmed\n".to_owned()),
        (&["approve", "4"], 0, "generation 3 is committed".to_owned()),
        (&["reject", "4", "--why", "not on a Friday"], 0, "generation 4 is rejected\n".to_owned()),
        (&["generations", "pin", "1", "--label", "before-upgrade"], 0, "generation 1 is pinned\n".to_owned()),
        (&["generations", "unpin", "1"], 0, "generation 1 is not pinned\n".to_owned()),
    ];
    for (words, status, text) in cases {
        let output = mcsup(&served.home, words);
        assert_ends(&output, status);
        assert!(said(&output).contains(&text), "{words:?}: {}{}", said(&output), complained(&output));
    }
    let touched = said(&mcsup(&served.home, &["apply"]));
    assert!(touched.contains("~ redis  restarts\n~ web    restarts with redis\n"), "{touched}");
    let until = said(&mcsup(&served.home, &["apply", "--confirm", "10m"]));
    assert!(until.contains("it stays until 2023-11-14 22:26:21 at least\n"), "{until}");
}

#[test]
fn what_cannot_be_done_says_why() {
    let served = with_generations();
    let cases: [(&[&str], i32, &str); 10] = [
        (&["rollback", "9"], 1, "there is no generation 9; `mcsup generations` lists"),
        (&["approve", "9"], 1, "there is no generation 9"),
        (&["approve", "3"], 1, "generation 3 waits for nobody: it is committed"),
        (&["reject", "2"], 1, "generation 2 waits for nobody: it is rejected"),
        (&["abandon"], 1, "no change is under way"),
        (&["diff", "1", "9"], 1, "there is no generation 9"),
        (&["generations", "9"], 1, "there is no generation 9"),
        (&["generations", "pin", "9", "--label", "x"], 1, "there is no generation 9"),
        (&["generations", "pin", "1", "--label", ""], 2, "`label` must be one line"),
        (&["apply", "--confirm", "soon"], 2, "write a time such as"),
    ];
    for (words, status, text) in cases {
        let output = mcsup(&served.home, words);
        assert_ends(&output, status);
        assert!(complained(&output).contains(text), "{words:?}: {}", complained(&output));
    }
}

#[test]
fn generations_are_a_table_and_one_alone_tells_its_files() {
    let served = with_generations();
    std::fs::write(served.home.join("state/generations/000001/pin.json"), "{\"label\": \"before-upgrade\"}")
        .unwrap();
    let output = mcsup(&served.home, &["generations"]);
    assert_ends(&output, 0);
    assert_golden("generations.txt", &said(&output));
    let one = mcsup(&served.home, &["generations", "4"]);
    assert_ends(&one, 0);
    assert_golden("generation.txt", &said(&one));
    let verified = mcsup(&served.home, &["generations", "verify"]);
    assert_ends(&verified, 0);
    assert_eq!(said(&verified), "every byte is as it was kept\n");
    let file = served.home.join("state/generations/000001/units/old.yaml");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(&file, "command: [new]\n").unwrap();
    let damaged = mcsup(&served.home, &["generations", "verify"]);
    assert_ends(&damaged, 1);
    assert!(said(&damaged).contains("! generation 1: `"), "{}", said(&damaged));
}

#[test]
fn a_diff_is_of_what_is_in_effect_or_of_texts() {
    let served = with_generations();
    let output = mcsup(&served.home, &["diff"]);
    assert_ends(&output, 0);
    assert_golden("diff.txt", &said(&output));
    let files = mcsup(&served.home, &["diff", "--files", "1", "3"]);
    assert_ends(&files, 0);
    assert_golden("diff-files.txt", &said(&files));
    let same = mcsup(&served.home, &["diff", "2", "3", "--files"]);
    assert_eq!(said(&same), "generations 2 and 3 have the same files\n");
    let back = said(&mcsup(&served.home, &["diff", "3", "1"]));
    assert!(back.contains("+ old    is new, and starts"), "{back}");
}

#[test]
fn what_is_kept_can_be_looked_at_without_a_supervisor() {
    let home = {
        let served = with_generations();
        let kept = empty_home();
        std::fs::remove_dir(kept.join("state")).unwrap();
        std::fs::rename(served.home.join("state"), kept.join("state")).unwrap();
        kept
    };
    std::fs::write(home.join("units/redis.yaml"), "command: [redis-server]\n").unwrap();
    let output = mcsup(&home, &["plan"]);
    assert_ends(&output, 0);
    assert!(said(&output).contains("- web    stops and goes: its file is gone\n"), "{}", said(&output));
    assert!(said(&output).contains("it waits for `mcsup approve`, as it changes redis"), "{}", said(&output));
    assert!(
        complained(&output).contains("no supervisor answers; this is read from"),
        "{}",
        complained(&output)
    );
    for (words, text) in [
        (&["generations"][..], "*    3  "),
        (&["generations", "4"], "generation 4, pending\n"),
        (&["generations", "verify"], "every byte is as it was kept\n"),
        (&["diff"], "+ cache  is new, and starts\n"),
        (&["diff", "1", "2", "--files"], "+command: [cache]\n"),
        (&["plan", "--generation", "1"], "- cache  stops and goes: its file is gone\n"),
    ] {
        let output = mcsup(&home, words);
        assert_ends(&output, 0);
        assert!(said(&output).contains(text), "{words:?}: {}", said(&output));
        assert_eq!(complained(&output).lines().count(), 1, "{}", complained(&output));
    }
    assert_ends(&mcsup(&home, &["generations", "9"]), 1);
    assert_ends(&mcsup(&home, &["rollback"]), 3);
    std::fs::write(home.join("units/redis.yaml"), "restrat: always\n").unwrap();
    let output = mcsup(&home, &["plan"]);
    assert_ends(&output, 1);
    assert!(said(&output).contains("did you mean `restart`?"), "{}", said(&output));
    std::fs::remove_dir_all(home.join("state/generations")).unwrap();
    let output = mcsup(&home, &["plan"]);
    assert_ends(&output, 3);
    assert!(complained(&output).contains("no generation is kept in"), "{}", complained(&output));
    drop(std::fs::remove_dir_all(home));
}

/// An editor that runs `script` with the file in `$1`, and what a person answers.
fn edited(served: &Served, words: &[&str], script: &str, answers: &str) -> Output {
    let editor = served.home.join("editor");
    std::fs::write(&editor, script).unwrap();
    let mut command = command(MCSUP);
    command.arg("--home").arg(&served.home).arg("edit").args(words);
    command.env("VISUAL", "").env("EDITOR", format!("sh {}", editor.display()));
    command.env("TMPDIR", served.home.join("run"));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // One that asks nothing has ended before it reads this.
    drop(child.stdin.take().unwrap().write_all(answers.as_bytes()));
    child.wait_with_output().unwrap()
}

/// The text of the one draft that was kept.
fn kept_draft(output: &Output) -> String {
    let said = complained(output);
    let path =
        said.lines().find_map(|line| line.strip_prefix("what you wrote is kept as ")).unwrap_or_default();
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}\n{said}"))
}

#[test]
fn an_edit_shows_the_plan_asks_and_applies() {
    let served = with_generations();
    let output = edited(&served, &["redis"], "echo 'stop: {grace: 1s}' >>\"$1\"\n", "y\n");
    assert_ends(&output, 0);
    let text = said(&output);
    assert!(text.contains("~ redis  restarts\n"), "the plan: {text}");
    assert!(text.contains("apply? [y/N/e(dit)]") && text.contains("generation 3 is committed"), "{text}");
    assert_eq!(complained(&output), "", "nothing is left to be kept");
}

#[test]
fn what_was_written_in_an_edit_and_not_applied_is_kept() {
    let served = with_generations();
    let wrong = "echo 'restrat: always' >>\"$1\"\n";
    let output = edited(&served, &["redis"], wrong, "n\n");
    assert_ends(&output, 1);
    assert!(said(&output).contains("error[unknown-key]"), "{}", said(&output));
    assert!(kept_draft(&output).ends_with("restrat: always\n"));
    let mended = "if grep -q restrat \"$1\"; then sed -i /restrat/d \"$1\"; echo '# better' >>\"$1\"; \
                  else echo 'restrat: always' >>\"$1\"; fi\n";
    assert_ends(&edited(&served, &["redis"], mended, "y\ny\n"), 0);
    let refused = edited(&served, &["redis"], "echo '# no' >>\"$1\"\n", "n\n");
    assert_ends(&refused, 1);
    assert!(kept_draft(&refused).ends_with("# no\n"));
    let nobody = edited(&served, &["redis"], "echo '# alone' >>\"$1\"\n", "");
    assert_ends(&nobody, 1);
    assert!(kept_draft(&nobody).ends_with("# alone\n"));
    let broken_off = edited(&served, &["redis"], "echo '# half' >>\"$1\"; exit 3\n", "");
    assert_ends(&broken_off, 1);
    assert!(complained(&broken_off).contains("failed: exit status: 3; nothing is changed"));
    assert!(kept_draft(&broken_off).ends_with("# half\n"));
}

#[test]
fn an_edit_does_not_take_away_what_somebody_else_saved_meanwhile() {
    let served = with_generations();
    let unit = served.home.join("units/redis.yaml");
    let script = format!("echo '# mine' >>\"$1\"; echo '# theirs' >>{}\n", unit.display());
    let output = edited(&served, &["redis"], &script, "y\n");
    assert_ends(&output, 1);
    assert!(complained(&output).contains("was changed meanwhile"), "{}", complained(&output));
    assert!(kept_draft(&output).ends_with("# mine\n"));
}

#[test]
fn an_edit_of_nothing_says_so() {
    let served = with_generations();
    let output = edited(&served, &["redis"], "true\n", "");
    assert_ends(&output, 0);
    assert_eq!(said(&output), "nothing is changed\n");
    assert_eq!(std::fs::read_dir(served.home.join("run")).unwrap().count(), 1, "the copy is gone");
    let unknown = edited(&served, &["reids"], "true\n", "");
    assert_ends(&unknown, 1);
    assert!(complained(&unknown).contains("did you mean `redis`?"), "{}", complained(&unknown));
    let copy = edited(&served, &["web@1"], "true\n", "");
    assert!(complained(&copy).contains("one of several copies of a file"), "{}", complained(&copy));
    assert!(!complained(&copy).contains("--new"), "{}", complained(&copy));
    let none = edited(&served, &["zzzzzzzzzz"], "true\n", "");
    assert!(complained(&none).contains("help: mcsup edit --new zzzzzzzzzz"), "{}", complained(&none));
    let new = edited(&served, &["--new", "cache2"], "echo 'command: [cache]' >\"$1\"\n", "y\n");
    assert_ends(&new, 0);
    assert_ends(&edited(&served, &["--new", "redis"], "true\n", ""), 1);
}

#[test]
fn the_status_says_how_the_directory_stands_to_what_is_in_force() {
    use mcsup::engine::time::WallTime;
    use mcsup::supervisor::generations::Waits;
    use mcsup::supervisor::handle::{ChangeStage, Invalid, Pending, Progress, Standing};
    let generation = Some(41);
    let until = Some(WallTime(1_795_211_407_000_000_000));
    let under_way = |stage, until| Standing {
        generation,
        under_way: Some(42),
        progress: Some(Progress { generation: 42, stage, until }),
        ..Standing::default()
    };
    let waits = |generation: u64, units: &[&str], settings: &[&str]| {
        let [units, settings] = [units, settings].map(|all| all.iter().map(ToString::to_string).collect());
        Pending { generation, waits: Waits { units, settings }, is_of_directory: false }
    };
    let invalid = Invalid { text: String::new(), errors: 2 };
    let cases = [
        (Standing { generation, ..Standing::default() }, None),
        (
            Standing { generation, invalid: Some(invalid), ..Standing::default() },
            Some("units directory differs from generation 41: 2 errors"),
        ),
        (
            Standing { generation, pending: vec![waits(43, &["redis"], &[])], ..Standing::default() },
            Some("generation 43 waits for `mcsup approve 43`: it changes redis"),
        ),
        (
            Standing {
                generation,
                pending: vec![waits(43, &["redis"], &[]), waits(44, &["web"], &["approvers"])],
                differs: Some("as rejected generation 42".into()),
                ..Standing::default()
            },
            Some(
                "generation 43 waits for `mcsup approve 43`: it changes redis; \
                 generation 44 waits for `mcsup approve 44`: it changes web, `approvers` of mcsup.yaml; \
                 units directory differs from generation 41: as rejected generation 42",
            ),
        ),
        (under_way(ChangeStage::Applying, None), Some("generation 42 is under way: applying")),
        (
            under_way(ChangeStage::Verifying, until),
            Some("generation 42 is under way: verifying until 2026-11-20 21:50:07 UTC"),
        ),
        (
            under_way(ChangeStage::Confirming, until),
            Some("generation 42 waits for confirm until 2026-11-20 21:50:07 UTC"),
        ),
        (
            under_way(ChangeStage::GoingBack("redis is failed: exited with 1".into()), until),
            Some("generation 42 is going back: redis is failed: exited with 1"),
        ),
        (
            Standing { generation, differs: Some("as rejected generation 42".into()), ..Standing::default() },
            Some("units directory differs from generation 41: as rejected generation 42"),
        ),
    ];
    for (standing, sentence) in cases {
        let mut fake = Fake::new();
        fake.standing = standing;
        let served = Served::new(fake);
        let text = said(&mcsup(&served.home, &["status"]));
        let mut head = text.lines();
        let first = head.next().unwrap();
        assert!(first.contains("generation 41"), "{text}");
        assert_eq!(head.next().filter(|line| !line.is_empty()), sentence, "{text}");
        let json = mcsup(&served.home, &["status", "--json"]);
        let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
        assert_eq!((&json["generation"], json["changes"].as_str()), (&serde_json::json!(41), sentence));
    }
}
