//! Files: what can be changed, what is private, what is secret.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::{log_of, said, tried};

#[test]
fn what_is_read_only_changes_nothing_but_what_it_may() {
    let own = format!("/var/lib/mcsup-writable-{}", std::process::id());
    fs::create_dir_all(&own).expect("a directory");
    let script = format!(
        "touch /var/lib/mcsup-no-$$ 2> /dev/null || echo no file\n\
         mkdir /var/lib/mcsup-no-$$ 2> /dev/null || echo no directory\n\
         (echo x >> /etc/hostname) 2> /dev/null || echo no change\n\
         (: > \"$0\") 2> /dev/null || echo no truncation\n\
         rm \"$0\" 2> /dev/null || echo no removal\n\
         mv {own} {own}-away 2> /dev/null || echo no move\n\
         echo x > {own}/yes && mkdir {own}/d && mv {own}/yes {own}/d/ && rm {own}/d/yes && rmdir {own}/d && echo its own\n\
         echo x > /dev/null && echo devices\n\
         cat /etc/hostname > /dev/null && echo reads\n"
    );
    let text = said("read-only", &format!("read_only: true\nwritable: [{own}]\n"), &script);
    fs::remove_dir_all(&own).expect("still there");
    let expected =
        "no file\nno directory\nno change\nno truncation\nno removal\nno move\nits own\ndevices\nreads\n";
    assert_eq!(text, expected);
}

#[test]
fn a_writable_place_that_is_missing_is_a_named_failure() {
    let instance = tried("no-place", "read_only: true\nwritable: [/var/lib/mcsup-never-there]\n", "true\n");
    let look = instance.wait("refused", |look| look.reason("it").contains("read_only"));
    let expected = "cannot start: read_only: /var/lib/mcsup-never-there: No such file or directory";
    assert!(look.reason("it").contains(expected), "{}", look.reason("it"));
}

#[test]
fn a_private_tmp_is_empty_at_first_and_seen_by_nobody_else() {
    let theirs = format!("/tmp/mcsup-theirs-{}", std::process::id());
    fs::write(&theirs, "x").expect("a file");
    let script = format!(
        "ls -A /tmp /var/tmp | grep -v '^/' | grep .\n\
         test -e {theirs} || echo not theirs\n\
         touch {theirs}-mine /var/tmp/mine && echo mine\n\
         stat -c %a /tmp\n"
    );
    let text = said("private-tmp", "user: nobody\nprivate_tmp: true\nread_only: true\n", &script);
    let is_leaked = Path::new(&format!("{theirs}-mine")).exists();
    fs::remove_file(&theirs).expect("still there");
    assert_eq!(text, "not theirs\nmine\n1777\n");
    assert!(!is_leaked, "what it wrote came out");
}

#[test]
fn credentials_are_files_that_only_the_unit_finds() {
    let source = format!("/var/lib/mcsup-secret-{}", std::process::id());
    fs::write(&source, "s3cret\n").expect("a file");
    fs::set_permissions(&source, fs::Permissions::from_mode(0o600)).expect("its mode");
    let keys =
        format!("user: nobody\ncredentials: {{db.password: {source}}}\nprivate_tmp: true\nread_only: true\n");
    let script = format!(
        "echo $CREDENTIALS_DIRECTORY\n\
         cat $CREDENTIALS_DIRECTORY/db.password\n\
         stat -c '%a %U' $CREDENTIALS_DIRECTORY/db.password\n\
         stat -c '%a %U' $CREDENTIALS_DIRECTORY\n\
         stat -f -c %T $CREDENTIALS_DIRECTORY\n\
         touch $CREDENTIALS_DIRECTORY/x 2> /dev/null || echo nothing new\n\
         chmod 666 $CREDENTIALS_DIRECTORY/db.password 2> /dev/null || echo as it is\n\
         cat {source} 2> /dev/null || echo not the source\n"
    );
    let instance = tried("credentials", &keys, &script);
    instance.wait("completed", |look| look.is("it", "completed"));
    let text = log_of(&instance);
    fs::remove_file(&source).expect("still there");
    assert_eq!(
        text,
        "/run/credentials/mcsup\ns3cret\n400 nobody\n500 nobody\nramfs\nnothing new\nas it is\nnot the source\n"
    );
    let outside = fs::read_dir("/run/credentials/mcsup").map_or(0, Iterator::count);
    assert_eq!(outside, 0, "nobody else sees them");
}

#[test]
fn a_credential_that_is_missing_is_a_named_failure() {
    let instance = tried("no-secret", "credentials: {key: /var/lib/mcsup-never-there}\n", "true\n");
    let look = instance.wait("refused", |look| look.reason("it").contains("credentials"));
    let expected = "cannot start: credentials: /var/lib/mcsup-never-there: No such file or directory";
    assert!(look.reason("it").contains(expected), "{}", look.reason("it"));
}

#[test]
fn a_secret_in_the_environment_is_warned_of_and_shown_nowhere() {
    let keys = "environment: {DB_PASSWORD: hunter2hunter2}\n";
    let instance = tried("literal", keys, "test \"$DB_PASSWORD\" = hunter2hunter2 && echo it has it\n");
    instance.wait("completed", |look| look.is("it", "completed"));
    assert_eq!(log_of(&instance), "it has it\n");
    instance.write(
        "it",
        &format!("kind: task\ncommand: [true]\n{}", keys.replace("hunter2hunter2", "hunter3hunter3")),
    );
    let plan = instance.done(&["plan"]);
    assert!(plan.contains("(hidden)"), "{plan}");
    instance.done(&["apply"]);
    let check = instance.run(&["check"]);
    let check = String::from_utf8_lossy(&check.stderr).into_owned() + &String::from_utf8_lossy(&check.stdout);
    assert!(check.contains("looks like a secret"), "{check}");
    let shown = [
        &["status"][..],
        &["status", "it"],
        &["status", "--json"],
        &["events"],
        &["events", "--json"],
        &["incidents"],
        &["diff", "1", "2"],
        &["diff", "1", "2", "--files"],
        &["generations"],
    ];
    for arguments in shown {
        let output = instance.run(arguments);
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(!text.contains("hunter"), "{arguments:?}: {text}");
    }
    let own = instance.printed()
        + &fs::read_to_string(instance.path("log/mcsup.log")).unwrap_or_default()
        + &plan
        + &check;
    assert!(!own.contains("hunter"), "{own}");
    assert!(own.contains("looks like a secret"), "{own}");
}
