//! What goes into an image comes out again, of this version and of others.

use super::*;
use crate::keeper::wire::{KeptOrder, LogOrder, Stage, Step};

fn row(run: u64) -> Row {
    Row {
        run,
        unit: "web".into(),
        spawned_as: Some("www".into()),
        ordinal: 3,
        pid: 77,
        start_time: 5,
        spawned_at: 6,
        stage: Stage::Exited {
            exit: Exit::Signal { number: 9, dumped_core: true },
            usage: Usage { user_us: 1, system_us: 2, max_rss_kib: 3 },
            is_empty: false,
            log_end: Some(LogPlace { inode: 1, born: 0, offset: 2 }),
        },
        log: Some(LogOrder {
            dir: b"/log/web".as_slice().into(),
            keep: 5,
            kept: Some(KeptOrder { path: b"/out/7".as_slice().into(), most_bytes: 9, is_stderr: true }),
            ..LogOrder::default()
        }),
        carries: Vec::new(),
        is_ready_shown: true,
        log_place: None,
    }
}

fn image() -> Image {
    let ended = EndedImage { pid: 77, exit: Exit::Code(0), usage: Usage::default() };
    Image {
        from: "0.1.0".into(),
        path: Blob(b"/usr/bin/mcsup".to_vec()),
        lock: Some(10),
        nofile: (1024, u64::MAX),
        deaths: vec![1, 2],
        replacement: Some(Replacement {
            number: 4,
            trouble: Some("it hangs".into()),
            ..Replacement::default()
        }),
        table: TableImage {
            rows: vec![
                EntryImage {
                    row: Some(row(1)),
                    is_released: true,
                    saying: Some(SayingImage {
                        notices: vec![Blob(b"READY=1".to_vec())],
                        ..SayingImage::default()
                    }),
                },
                EntryImage {
                    row: Some(Row { stage: Stage::SpawnFailed { step: Step::Exec, errno: 2 }, ..row(2) }),
                    ..EntryImage::default()
                },
            ],
            notes: vec![(Blob(b"boot".to_vec()), Blob(vec![3, 1])), (Blob(vec![0]), Blob(Vec::new()))],
            signals: vec![(15, 1)],
            ..TableImage::default()
        },
        slots: vec![SlotImage {
            slot: 7,
            role: RoleImage::Run { run: 1 },
            pid: 77,
            pidfd: Some(12),
            tidings: Some(TidingsImage {
                main: Some(MainImage { pid: 78, ended: Some(ended), ..MainImage::default() }),
                ..TidingsImage::default()
            }),
            tag: "web#3:1".into(),
            kill_at: Some(0),
            seen: vec![SeenImage { pid: 79, ..SeenImage::default() }],
            ..SlotImage::default()
        }],
        listening: vec![Kept { key: "web/tcp:80".into(), descriptor: Some(13), ..Kept::default() }],
        ..Image::default()
    }
}

fn bytes(version: u32, read_from: u32) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&read_from.to_le_bytes());
    image().put(&mut bytes);
    bytes
}

#[test]
fn an_image_comes_out_as_it_went_in() {
    assert_eq!(Image::parse(&bytes(VERSION, READ_FROM)).unwrap(), image());
    assert_eq!(Image::read(image().write().unwrap()).unwrap(), image());
}

#[test]
fn a_field_of_a_later_version_is_skipped_and_one_of_a_later_version_that_is_missing_is_its_default() {
    let mut later = bytes(VERSION + 1, VERSION);
    lasting::put_field(999, &"what nobody knows yet".to_owned(), &mut later);
    assert_eq!(Image::parse(&later).unwrap(), image());
    assert_eq!(Image::parse(&bytes(VERSION, READ_FROM)[..HEAD_BYTES]).unwrap(), Image::default());
}

#[test]
fn what_must_be_understood_and_is_not_is_refused_in_words() {
    let told = Image::parse(&bytes(VERSION + 2, VERSION + 1)).unwrap_err();
    assert!(told.contains(&format!("version {}", VERSION + 2)), "{told}");
    let whole = bytes(VERSION, READ_FROM);
    assert!(Image::parse(&whole[..whole.len() - 1]).is_err());
    assert!(Image::parse(b"#!/bin/sh\nexec mcsup\n").unwrap_err().contains("none"));
}

#[test]
fn the_digest_tells_whether_the_same_was_understood_and_stays_what_it_is() {
    let mut other = image();
    other.slots[0].pidfd = Some(14);
    assert_ne!(other.digest(), image().digest());
    let mut other = image();
    other.table.notes.pop();
    assert_ne!(other.digest(), image().digest());
    // An executable of another version computes its own: this number may never change.
    assert_eq!(image().digest(), 0xf920_ba04_6b0b_9113);
}
