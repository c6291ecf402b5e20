//! Real files, saved, swapped and mounted in every way, and one who watches them.

use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};

use super::*;

/// Longer than anything takes on a loaded machine; reached only by a failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// A directory with units in it, and who watches it.
struct Scene {
    root: PathBuf,
    units: PathBuf,
    ears: Ears,
    watch: Watch,
    said: Receiver<(Duration, Said)>,
}

impl Scene {
    /// The units directory is `ROOT/units`, unless `prepare` makes something else of it. It is watched by now.
    fn new(name: &str, prepare: impl FnOnce(&Path)) -> Self {
        Self::on(remote::kind, name, prepare)
    }

    fn on(remote_kind: RemoteKind, name: &str, prepare: impl FnOnce(&Path)) -> Self {
        let root = std::env::temp_dir().join(format!("mcsup-watch-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&root));
        fs::create_dir_all(&root).unwrap();
        prepare(&root);
        let units = root.join("units");
        if fs::symlink_metadata(&units).is_err() {
            fs::create_dir(&units).unwrap();
        }
        let (ears, (tell, said)) = (Ears::default(), channel());
        let tell = move |what| drop(tell.send((since_boot(), what)));
        let watch = Watch::start_where(remote_kind, &ears, &units, Seen::default(), tell).unwrap();
        let scene = Self { root, units, ears, watch, said };
        // Who has seen nothing is told to look, when all is watched.
        scene.look_after(Duration::ZERO);
        scene
    }

    /// The looks until there is one at `written` or later.
    #[track_caller]
    fn look_after(&self, written: Duration) -> Vec<Duration> {
        let mut looks = Vec::new();
        let until = since_boot() + PATIENCE;
        while looks.last().is_none_or(|look| *look < written) {
            let left = until.saturating_sub(since_boot());
            match self.said.recv_timeout(left) {
                Ok((at, Said::Look)) => looks.push(at),
                Ok((_, Said::Remark(text))) => panic!("{text}"),
                Err(error) => panic!("no look after the last write, but {looks:?}: {error}"),
            }
        }
        looks
    }

    /// It is told of what `act` does. What it told before that is of no interest.
    #[track_caller]
    fn sees(&self, what: &str, act: impl FnOnce()) {
        let before = self.said.try_iter().count();
        let began = since_boot();
        act();
        let looks = self.look_after(began);
        assert!(!looks.is_empty(), "{what}, after {before} others");
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.root.join(path), text).unwrap();
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.root));
    }
}

fn pause(time: Duration) {
    let time = rustix::event::Timespec::try_from(time).unwrap();
    rustix::event::poll(&mut [], Some(&time)).unwrap();
}

fn swap_link(root: &Path, target: &str, link: &str) {
    symlink(target, root.join("new-link")).unwrap();
    fs::rename(root.join("new-link"), root.join(link)).unwrap();
}

#[test]
fn case_38_every_way_to_save_a_file_is_seen() {
    let scene = Scene::new("saves", |_root| {});
    let file = scene.units.join("web.yaml");
    scene.sees("a new file", || scene.write("units/web.yaml", "command: a"));
    scene.sees("a write in place", || scene.write("units/web.yaml", "command: b"));
    scene.sees("another one of as many bytes", || scene.write("units/web.yaml", "command: c"));
    scene.sees("a rename over it", || {
        scene.write("units/.web.yaml.tmp", "command: d");
        fs::rename(scene.units.join(".web.yaml.tmp"), &file).unwrap();
    });
    scene.sees("a rename from elsewhere", || {
        scene.write("elsewhere", "command: e");
        fs::rename(scene.root.join("elsewhere"), &file).unwrap();
    });
    scene.sees("a removal", || fs::remove_file(&file).unwrap());
    scene.sees("delete and create", || {
        scene.write("units/web.yaml", "command: f");
        fs::remove_file(&file).unwrap();
        scene.write("units/web.yaml", "command: g");
    });
    scene.sees("what vim does", || {
        scene.write("units/4913", "");
        fs::remove_file(scene.units.join("4913")).unwrap();
        fs::rename(&file, scene.units.join("web.yaml~")).unwrap();
        scene.write("units/web.yaml", "command: h");
        fs::remove_file(scene.units.join("web.yaml~")).unwrap();
    });
    scene.sees("a file that is emptied", || drop(File::create(&file).unwrap()));
}

#[test]
fn case_38_a_file_that_is_half_written_is_looked_at_when_it_is_finished() {
    let scene = Scene::new("half", |_root| {});
    scene.write("units/web.yaml", "comm");
    pause(QUIET / 3);
    let finished = since_boot();
    scene.write("units/web.yaml", "command: a");
    scene.look_after(finished);
    assert_eq!(fs::read(scene.units.join("web.yaml")).unwrap(), b"command: a");
}

#[test]
fn a_look_comes_soon_after_a_save() {
    let scene = Scene::new("soon", |_root| {});
    // The machine may be busy with something else, but not each time.
    let waited = (0..5).map(|round| {
        let saved = since_boot();
        scene.write("units/web.yaml", &round.to_string());
        scene.look_after(saved).last().copied().unwrap() - saved
    });
    let least = waited.min().unwrap();
    assert!(least >= QUIET && least <= Duration::from_millis(300), "{least:?}");
}

#[test]
fn case_38_a_hundred_saves_in_a_second_are_few_looks_and_the_last_comes_after_them() {
    let scene = Scene::new("hundred", |_root| {});
    let began = since_boot();
    let saves: Vec<Duration> = (0..100)
        .map(|round| {
            pause(Duration::from_millis(round * 10).saturating_sub(since_boot() - began));
            let at = since_boot();
            scene.write("units/web.yaml", &round.to_string());
            at
        })
        .collect();
    let looks = scene.look_after(*saves.last().unwrap());
    // Each pause that was nearly long enough, as on a busy machine, may have been taken for quiet.
    let pauses = saves.windows(2).filter(|pair| pair[1] - pair[0] > QUIET / 2).count();
    assert!(looks.len() <= 2 + pauses, "{looks:?} with {pauses} pauses");
}

#[test]
fn a_directory_that_is_never_quiet_is_looked_at_all_the_same() {
    let scene = Scene::new("never-quiet", |_root| {});
    let began = since_boot();
    let looked = loop {
        scene.write("units/web.yaml", "again");
        if let Ok((at, Said::Look)) = scene.said.try_recv() {
            break at;
        }
        assert!(since_boot() - began < PATIENCE, "not one look");
        pause(Duration::from_millis(10));
    };
    assert!(looked > began);
}

#[test]
fn case_38_five_hundred_files_at_once_are_all_there_at_the_last_look() {
    let scene = Scene::new("many", |_root| {});
    let save = |number: u32| scene.write(&format!("units/{number}.yaml"), "command: a");
    (0..499).for_each(save);
    let written = since_boot();
    save(499);
    let looks = scene.look_after(written);
    assert!(looks.len() <= 4, "{looks:?}");
    assert_eq!(fs::read_dir(&scene.units).unwrap().count(), 500);
}

#[test]
fn case_38_a_directory_swapped_by_a_link_is_seen_and_watched_from_then_on() {
    let scene = Scene::new("swap", |root| {
        fs::create_dir(root.join("a")).unwrap();
        fs::create_dir(root.join("b")).unwrap();
        symlink("a", root.join("units")).unwrap();
    });
    scene.sees("a save behind the link", || scene.write("a/web.yaml", "1"));
    scene.sees("the swap", || swap_link(&scene.root, "b", "units"));
    scene.sees("a save behind the new link", || scene.write("b/web.yaml", "2"));
}

#[test]
fn case_38_a_swap_of_the_data_of_a_mounted_volume_is_seen() {
    // As a kubelet does it: the files are links, and so is what they lead through.
    let scene = Scene::new("volume", |root| {
        for (dir, text) in [("units/..1", "1"), ("units/..2", "2")] {
            fs::create_dir_all(root.join(dir)).unwrap();
            fs::write(root.join(dir).join("web.yaml"), text).unwrap();
        }
        symlink("..1", root.join("units/..data")).unwrap();
        symlink("..data/web.yaml", root.join("units/web.yaml")).unwrap();
    });
    scene.sees("the swap", || swap_link(&scene.units, "..2", "..data"));
    scene.sees("a write into the new data", || scene.write("units/..2/web.yaml", "3"));
    assert_eq!(fs::read(scene.units.join("web.yaml")).unwrap(), b"3");
    // The same where the directory itself is such a link.
    let scene = Scene::new("chain", |root| {
        fs::create_dir_all(root.join("etc/..2026_11")).unwrap();
        fs::create_dir_all(root.join("etc/..2026_12")).unwrap();
        symlink("..2026_11", root.join("etc/..data")).unwrap();
        symlink("etc/..data", root.join("units")).unwrap();
    });
    scene.sees("the swap", || swap_link(&scene.root.join("etc"), "..2026_12", "..data"));
    scene.sees("a new file", || scene.write("etc/..2026_12/web.yaml", "1"));
}

#[test]
fn a_unit_file_that_is_a_link_to_elsewhere_is_watched_there() {
    let scene = Scene::new("outside", |root| {
        fs::create_dir(root.join("app")).unwrap();
        fs::write(root.join("app/unit"), "1").unwrap();
    });
    scene.sees("a new link", || symlink("../app/unit", scene.units.join("web.yaml")).unwrap());
    scene.sees("a write behind it", || scene.write("app/unit", "2"));
}

#[test]
fn case_38_a_directory_that_is_deleted_and_made_again_is_watched_again() {
    let scene = Scene::new("again", |_root| {});
    for _ in 0..3 {
        scene.sees("deleted", || fs::remove_dir_all(&scene.units).unwrap());
        scene.sees("made", || fs::create_dir(&scene.units).unwrap());
        scene.sees("a save in it", || scene.write("units/web.yaml", "1"));
    }
}

#[test]
fn a_directory_whose_way_is_moved_or_not_there_yet_is_waited_for() {
    let scene = Scene::new("way", |root| symlink("deep/er/units", root.join("units")).unwrap());
    scene.sees("the way is made", || fs::create_dir_all(scene.root.join("deep/er/units")).unwrap());
    scene.sees("a save at its end", || scene.write("deep/er/units/web.yaml", "1"));
    scene.sees("it is moved away", || {
        fs::rename(scene.root.join("deep"), scene.root.join("away")).unwrap();
    });
    scene.sees("another one comes", || {
        fs::create_dir_all(scene.root.join("new/er/units")).unwrap();
        fs::rename(scene.root.join("new"), scene.root.join("deep")).unwrap();
    });
    scene.sees("a save there", || scene.write("deep/er/units/web.yaml", "2"));
}

#[test]
fn case_38_a_queue_that_runs_over_hides_nothing() {
    let scene = Scene::new("overflow", |root| fs::create_dir(root.join("units")).unwrap());
    let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let most: u32 = most.trim().parse().unwrap();
    scene.sees("more than is kept, and what was not kept", || {
        scene.ears.deaf_during(|| {
            for round in 0..=most / 3 {
                let file = scene.units.join(if round % 2 == 0 { "a" } else { "b" });
                File::create(&file).unwrap();
                fs::remove_file(&file).unwrap();
            }
            // Nobody is told of this.
            fs::remove_dir(&scene.units).unwrap();
            fs::create_dir(&scene.units).unwrap();
        });
    });
    scene.sees("a save in the new directory", || scene.write("units/web.yaml", "1"));
}

#[test]
fn files_that_units_name_are_watched_as_long_as_they_are_named() {
    let scene = Scene::new("named", |root| fs::create_dir(root.join("etc")).unwrap());
    let named = |path: &str| Seen::of(&scene.units).with_named([scene.root.join(path)]);
    scene.watch.follow(named("etc/web.env"));
    // Seen as it is, so there is no look that tells that it is watched by now.
    let watched = |path: &str| {
        let until = since_boot() + PATIENCE;
        for round in 0.. {
            scene.write(path, &format!("A={round}"));
            if scene.said.recv_timeout(QUIET * 2).is_ok() {
                return;
            }
            assert!(since_boot() < until, "{path} is not watched");
        }
    };
    watched("etc/web.env");
    scene.sees("a save by rename", || {
        scene.write("etc/tmp", "A=2");
        fs::rename(scene.root.join("etc/tmp"), scene.root.join("etc/web.env")).unwrap();
    });
    scene.watch.follow(named("etc/other.env"));
    watched("etc/other.env");
}

/// What `ask` finds on the thread of a watch that has just begun, and what that said.
fn asked<A: Send + 'static>(
    scene: &Scene,
    seen: Seen,
    ask: impl FnOnce(&mut Eyes<Box<dyn Fn(Said)>>) -> A + Send + 'static,
) -> (A, Vec<Said>) {
    let (answer, answered) = channel();
    let units = scene.units.clone();
    let work = move |listener| {
        let (tell, said) = channel();
        let tell: Box<dyn Fn(Said)> = Box::new(move |what| tell.send(what).unwrap());
        let mut eyes = Eyes::new(remote::kind, listener, units, seen, tell);
        eyes.begin();
        let found = ask(&mut eyes);
        answer.send((found, said.try_iter().collect())).unwrap();
    };
    let _line = scene.ears.listen("asked", STACK_BYTES, work).unwrap();
    answered.recv_timeout(PATIENCE).unwrap()
}

#[test]
fn of_a_directory_with_a_named_file_only_that_file_counts() {
    let scene = Scene::new("one-name", |root| fs::create_dir(root.join("etc")).unwrap());
    let etc = scene.root.join("etc").canonicalize().unwrap();
    fs::write(etc.join("web.env"), "A=1").unwrap();
    let seen = Seen::of(&scene.units).with_named([etc.join("web.env"), etc.join("later.env")]);
    let (wanted, _) = asked(&scene, seen, |eyes| eyes.wanted().0);
    let names = wanted[&etc].names.clone().unwrap();
    assert_eq!(names.iter().collect::<Vec<_>>(), ["later.env", "web.env"]);
}

#[test]
fn a_mount_after_which_all_looks_the_same_is_no_reason_to_look() {
    let scene = Scene::new("mounted-elsewhere", |_root| {});
    let file = scene.units.join("web.yaml");
    let ((), said) = asked(&scene, Seen::of(&scene.units), move |eyes| {
        eyes.change(Duration::from_secs(1), false);
        eyes.look(Duration::from_secs(2));
        assert_eq!(eyes.pending, None);
        (eyes.tell)(Said::Remark("and now".to_owned()));
        fs::write(file, "1").unwrap();
        eyes.change(Duration::from_secs(3), false);
        eyes.look(Duration::from_secs(4));
    });
    assert_eq!(said, [Said::Remark("and now".to_owned()), Said::Look]);
}

#[test]
fn what_changed_before_it_was_watched_is_told_and_what_did_not_is_not() {
    let scene = Scene::new("before", |root| {
        fs::create_dir(root.join("units")).unwrap();
        fs::write(root.join("units/web.yaml"), "1").unwrap();
    });
    let start = |seen: Seen| {
        let (tell, said) = channel();
        let watch = Watch::start(&scene.ears, &scene.units, seen, move |what| drop(tell.send(what))).unwrap();
        (watch, said)
    };
    let early = Seen::of(&scene.units);
    let (_knows, told_nothing) = start(early.clone());
    // Begun later: whoever was to be told by the first one was told before.
    let (_ignorant, told) = start(Seen::default());
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Said::Look));
    assert!(told_nothing.try_recv().is_err(), "nothing changed");
    scene.write("units/web.yaml", "22");
    let (_late, told) = start(early);
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Said::Look));
}

#[test]
fn a_remote_file_system_is_polled_and_that_is_said_once() {
    let root = std::env::temp_dir().join(format!("mcsup-watch-remote-{}", std::process::id()));
    drop(fs::remove_dir_all(&root));
    let units = root.join("units");
    fs::create_dir_all(&units).unwrap();
    fs::write(units.join("web.yaml"), "1").unwrap();
    // What is done by another name of the file is no event here, as if it were done by another machine.
    fs::hard_link(units.join("web.yaml"), root.join("elsewhere")).unwrap();
    let (tell, said) = channel();
    let (ears, seen) = (Ears::default(), Seen::of(&units));
    let is_ours = |path: &Path| path.to_str()?.contains("mcsup-watch-remote").then_some("NFS");
    let _watch = Watch::start_where(is_ours, &ears, &units, seen, move |what| drop(tell.send(what))).unwrap();
    let Ok(Said::Remark(text)) = said.recv_timeout(PATIENCE) else { panic!("it is not said") };
    assert!(text.contains("NFS") && text.contains("mcsup apply"), "{text}");
    for text in ["22", "333"] {
        fs::write(root.join("elsewhere"), text).unwrap();
        assert_eq!(said.recv_timeout(PATIENCE), Ok(Said::Look), "said once");
    }
    fs::remove_dir_all(&root).unwrap();
}

#[test]
fn a_local_file_system_is_not_polled_and_nothing_is_due_at_rest() {
    let scene = Scene::new("rest", |_root| {});
    let found = asked(&scene, Seen::of(&scene.units), |eyes| (eyes.pending, eyes.next_poll));
    assert_eq!(found, ((None, None), Vec::new()));
}

#[test]
fn a_change_is_due_after_the_quiet_and_no_later_than_the_limit() {
    let at = Duration::from_millis;
    let pending = |first, last| Pending { first: at(first), last: at(last), is_certain: true };
    assert_eq!(pending(1000, 1000).due(), at(1150));
    assert_eq!(pending(1000, 2800).due(), at(2950));
    assert_eq!(pending(1000, 2900).due(), at(3000));
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a child of the test's own, to mount where nobody else sees it"
)]
fn case_38_a_mount_over_the_directory_is_seen_and_watched() {
    const CHILD: &str = "MCSUP_TEST_WATCH_MOUNTS";
    if std::env::var_os(CHILD).is_some() {
        return sees_mounts();
    }
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    let name = "supervisor::change::watch::tests::case_38_a_mount_over_the_directory_is_seen_and_watched";
    command.arg("--mount").arg(std::env::current_exe().unwrap()).args(["--exact", name]).env(CHILD, "1");
    let ended = command.output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
    assert!(String::from_utf8_lossy(&ended.stdout).contains("1 passed"), "{ended:?}");
}

fn sees_mounts() {
    let scene = Scene::new("mounts", |root| {
        for dir in ["units", "other"] {
            fs::create_dir(root.join(dir)).unwrap();
            fs::write(root.join(dir).join("web.yaml"), dir).unwrap();
        }
        fs::write(root.join("file"), "other file").unwrap();
    });
    scene.sees("a mount over it", || mount(&["--bind", "other", "units"], &scene.root));
    scene.sees("a save in what is mounted", || scene.write("other/web.yaml", "new"));
    scene.sees("a mount over a file in it", || mount(&["--bind", "file", "units/web.yaml"], &scene.root));
    scene.sees("the end of both", || {
        unmount("units/web.yaml", &scene.root);
        unmount("units", &scene.root);
    });
    scene.sees("a save in what was below", || scene.write("units/web.yaml", "newer"));
}

fn mount(words: &[&str], dir: &Path) {
    run("mount", words, dir);
}

fn unmount(what: &str, dir: &Path) {
    run("umount", &[what], dir);
}

#[expect(clippy::disallowed_methods, reason = "there is no call for it without privileges of the test's own")]
fn run(program: &str, words: &[&str], dir: &Path) {
    let ended = Command::new(program).args(words).current_dir(dir).output().unwrap();
    assert!(ended.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&ended.stderr));
}
