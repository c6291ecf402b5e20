//! Privileges, priorities and processors.

use crate::{said, tried};

const PRIVILEGES: &str = "grep NoNewPrivs /proc/self/status | tr -d '\\t'\n";
const POWERS: &str = "grep -E '^Cap(Eff|Prm|Bnd|Amb)' /proc/self/status | tr -d '\\t'\n";

#[test]
fn nobody_gains_privileges_but_root_and_who_is_allowed_to() {
    assert_eq!(said("nnp-user", "user: nobody\n", PRIVILEGES), "NoNewPrivs:1\n");
    assert_eq!(said("nnp-root", "", PRIVILEGES), "NoNewPrivs:0\n");
    assert_eq!(said("nnp-allowed", "user: nobody\nno_new_privileges: false\n", PRIVILEGES), "NoNewPrivs:0\n");
    assert_eq!(said("nnp-root-not", "no_new_privileges: true\n", PRIVILEGES), "NoNewPrivs:1\n");
}

#[test]
fn a_user_has_the_capabilities_that_are_listed_and_can_get_no_others() {
    let binds = "python3 -c 'import socket; socket.socket().bind((\"127.0.0.1\", 1009))' && echo bound\n";
    let keys = "user: nobody\ncapabilities: [CAP_NET_BIND_SERVICE]\n";
    let only = "0000000000000400";
    assert_eq!(
        said("caps-user", keys, &format!("{POWERS}{binds}")),
        format!("CapPrm:{only}\nCapEff:{only}\nCapBnd:{only}\nCapAmb:{only}\nbound\n")
    );
}

#[test]
fn a_user_has_none_without_a_word_about_them() {
    let text = said("caps-none", "user: nobody\n", POWERS);
    assert!(text.starts_with("CapPrm:0000000000000000\nCapEff:0000000000000000\n"), "{text}");
}

#[test]
fn root_without_capabilities_is_root_by_name_only() {
    let script = format!(
        "{POWERS}touch /var/lib/mcsup-x-$$ && chown 1 /var/lib/mcsup-x-$$ || echo may not give away\n\
                          rm -f /var/lib/mcsup-x-$$\n"
    );
    let text = said("caps-root", "capabilities: []\n", &script);
    let none = "0000000000000000";
    assert!(
        text.starts_with(&format!("CapPrm:{none}\nCapEff:{none}\nCapBnd:{none}\nCapAmb:{none}\n")),
        "{text}"
    );
    assert!(text.ends_with("may not give away\n"), "{text}");
}

#[test]
fn umask_nice_and_processors_are_those_of_the_unit() {
    let keys = "umask: 0o027\nnice: 7\ncpu_affinity: [1]\noom_score_adjust: 300\n";
    let script =
        "umask\nnice\ngrep Cpus_allowed_list /proc/self/status | tr -d '\\t'\ncat /proc/self/oom_score_adj\n";
    assert_eq!(said("manners", keys, script), "0027\n7\nCpus_allowed_list:1\n300\n");
}

#[test]
fn a_processor_that_is_not_there_is_a_named_failure() {
    let instance = tried("no-such-cpu", "cpu_affinity: 1000\n", "true\n");
    let look = instance.wait("refused", |look| look.reason("it").contains("cpu_affinity"));
    assert!(
        look.reason("it").contains("cannot start: cpu_affinity: Invalid argument"),
        "{}",
        look.reason("it")
    );
}
