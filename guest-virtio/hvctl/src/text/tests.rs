use super::*;

#[test]
fn a_table_is_as_wide_as_its_widest_cells() {
    let heads = [("NAME", Align::Left), ("N", Align::Right)];
    let rows = [["a".to_owned(), "1".to_owned()], ["größer".to_owned(), "1000".to_owned()]];
    assert_eq!(
        table(&heads, &rows),
        "\
NAME       N
a          1
größer  1000
"
    );
    assert_eq!(table::<[String; 2]>(&heads, &[]), "NAME  N\n");
}

#[test]
fn pairs_are_aligned() {
    let text = pairs([("a", "1".to_owned()), ("long", String::new())]);
    assert_eq!(text, "a     1\nlong  \n");
}

#[test]
fn bytes_are_shown_in_the_largest_unit() {
    for (number, text) in [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (64 << 20, "64 MiB"),
        (1 << 30, "1 GiB"),
        ((1 << 30) - (2 << 20), "1022 MiB"),
        (u64::MAX, "17179869184.0 GiB"),
    ] {
        assert_eq!(bytes(number), text);
    }
}

#[test]
fn spans_change_their_units_at_minutes_hours_and_days() {
    let s = 1_000_000_000;
    for (ns, text) in [
        (0, "0.0 s"),
        (59_999_999_999, "59.9 s"),
        (60 * s, "1m 00s"),
        (3599 * s, "59m 59s"),
        (3600 * s, "1h 00m"),
        (86_399 * s, "23h 59m"),
        (90_000 * s, "1d 01h"),
    ] {
        assert_eq!(span(ns), text);
    }
}

#[test]
fn small_units_have_the_right_scale() {
    assert_eq!(micros(412_345), "412.3 µs");
    assert_eq!(micros(0), "0.0 µs");
    assert_eq!(hertz(62_500_000), "62.500 MHz");
    assert_eq!(hertz(1_000_000_000), "1000 MHz");
    assert_eq!(seconds(Duration::from_millis(500)), "0.5 s");
    assert_eq!(seconds(Duration::from_secs(30)), "30 s");
}

#[test]
fn a_share_of_nothing_is_zero() {
    assert_eq!(percent(5, 0).to_bits(), 0);
    assert_eq!(format!("{:.2}", percent(1, 8)), "12.50");
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    assert_eq!(printable("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
    assert_eq!(printable_lines("one\n\ttwo\u{7}\r\nrest"), "one\n\ttwo\\u{7}\\r\nrest");
}

#[test]
fn bits_are_in_the_largest_unit_of_a_thousand_that_fits() {
    for (value, text) in
        [(0.0, "0 bit"), (999.0, "999 bit"), (1000.0, "1.0 kbit"), (8.25e6, "8.2 Mbit"), (3e10, "30.0 Gbit")]
    {
        assert_eq!(bits(value), text);
    }
}
