//! Anything at all.

use proptest::prelude::*;

use super::*;
use crate::monitor::editor::Editor;
use crate::monitor::keys::Keys;

#[derive(Debug, Clone)]
enum Event {
    Typed(Vec<u8>),
    Command(&'static str),
    Output(usize, String),
    Log(String),
    Pass(u64),
    Send(usize),
    Room(usize, usize),
}

fn event() -> impl Strategy<Value = Event> {
    let commands = prop::sample::select(vec![
        "list\r",
        "help\r",
        "console web\r",
        "top\r",
        "top 1 --json\r",
        "watch db1\r",
        "log\r",
        "\x1d",
        "\x1d\x1d",
        "c\t\t",
        "mem web 1 4096\r",
        "colour off\r",
        "\x1b[A",
        "\x03",
    ]);
    prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Event::Typed),
        4 => commands.prop_map(Event::Command),
        3 => (0..3usize, "[a-z \n]{0,300}").prop_map(|(vm, text)| Event::Output(vm, text)),
        1 => "[a-z ]{0,200}".prop_map(Event::Log),
        2 => (0..2_000_000u64).prop_map(Event::Pass),
        2 => (0..5000usize).prop_map(Event::Send),
        1 => (0..3usize, 0..500usize).prop_map(|(vm, room)| Event::Room(vm, room)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever is typed and printed, on however slow a line: nothing panics, the screen understands all that
    /// it is sent, what is kept is bounded, and once it is quiet the operator gets the prompt back, with the
    /// line that is being edited.
    #[test]
    fn the_prompt_survives_everything(events in prop::collection::vec(event(), 0..60)) {
        let mut session = Session::new(&["web", "db1", "db2"]);
        for event in events {
            match event {
                Event::Typed(bytes) => session.mux.port().input.lock().extend(bytes),
                Event::Command(keys) => session.mux.port().input.lock().extend(keys.bytes()),
                Event::Output(vm, text) => {
                    text.bytes().take_while(|&byte| session.mux.transmit(vm, byte)).for_each(drop);
                }
                Event::Log(line) => session.log(&line),
                Event::Pass(time) => session.pass(time),
                Event::Send(count) => {
                    session.send(count);
                }
                Event::Room(vm, room) => session.machine.room.borrow_mut()[vm] = room,
            }
            session.serve();
        }
        // A guest that takes nothing loses what was typed into it; that may take a while for each 256 bytes.
        session.pass(60_000_000);
        prop_assert!(session.mux.port().input.lock().is_empty());
        // Leaves top, then a VM; at the prompt, it is a line.
        session.keys("\x03").keys("z\x1d").keys("\x03");
        prop_assert!(session.shows("", 0), "{:?}", session.tail(3));
        session.keys("abc\x1b[D");
        prop_assert!(session.shows("abc", 2), "{:?}", session.tail(3));
    }

    /// The bottom of the screen is the edited line after every key.
    #[test]
    fn the_shown_line_is_the_edited_one(
        keys in prop::collection::vec(prop::sample::select(vec![
            "a", "b", " ", "\x7f", "\x1b[D", "\x1b[C", "\x1b[H", "\x05", "\x15", "\x0b", "\x17", "\x1b[A", "\x1b[B",
            "\x1b[3~", "\x0c", "x\r",
        ]), 0..200),
    ) {
        let mut session = Session::new(&["web", "db1", "db2"]);
        let (mut decoder, mut editor) = (Keys::default(), Editor::default());
        for key in keys {
            session.keys(key);
            session.output(0, "noise\n");
            for key in key.bytes().filter_map(|byte| decoder.push(byte)) {
                editor.press(key);
            }
            let image = editor.image();
            let (text, back) = image.split_once("\x1b[").unwrap_or((&image, "0D"));
            let back: usize = back.trim_end_matches('D').parse().unwrap();
            prop_assert_eq!(session.tail(1), [text.trim_end()]);
            prop_assert_eq!(session.screen.column(), text.len() - back);
        }
    }
}
