use super::*;

/// A header, and a life for each of these numbers.
fn lives(next: u64, numbers: &[u32]) -> Vec<u8> {
    let mut bytes = [next.to_le_bytes(), 7_000_000_000u64.to_le_bytes()].concat();
    for number in numbers {
        bytes.extend(number.to_le_bytes());
        bytes.extend((number % 5).to_le_bytes());
        bytes.extend(padded(if number % 2 == 0 { "debian" } else { "hv" }));
        bytes.extend(1_500_000_000u64.to_le_bytes());
        bytes.extend(2_250_000_000u64.to_le_bytes());
        bytes.extend(1_234_000u64.to_le_bytes());
        bytes.extend([3u32.to_le_bytes(), [0; 4]].concat());
    }
    bytes
}

fn padded(name: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes
}

fn all(replies: &[Vec<u8>]) -> Result<Vec<Life>, Error> {
    let mut replies = replies.iter();
    records(|_| Ok(replies.next().expect("no more questions").clone()), Life::of).map(|(lives, _)| lives)
}

#[test]
fn lives_of_all_answers_are_put_together() {
    let lives = all(&[lives(3, &[1, 2]), lives(5, &[3, 4]), lives(u64::MAX, &[5])]).unwrap();
    assert_eq!(lives.iter().map(|life| life.life).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let ends: Vec<_> = lives.iter().map(|life| &*life.end).collect();
    assert_eq!(ends, ["drained", "crashed", "hung", "unknown (4)", "on"]);
    assert_eq!((&*lives[1].woken_by, lives[1].requests, lives[1].cpu_ns), ("debian", 3, 1_234_000));
}

#[test]
fn an_answer_that_is_cut_or_never_ends_is_refused() {
    let mut cut = lives(u64::MAX, &[1]);
    cut.pop();
    assert!(all(&[cut]).is_err());
    assert!(all(&[vec![0; 5]]).is_err());
    assert!(all(&[lives(3, &[1]), lives(3, &[1])]).is_err());
}

#[test]
fn both_tables_are_for_people() {
    let lives = all(&[lives(u64::MAX, &[1, 2])]).unwrap();
    let asker = Asker { name: "debian".into(), wakes: 1, requests: 3, cpu_ns: 1_234_000 };
    let history = History { up_ns: 7_000_000_000, lives, askers: vec![asker] };
    assert_eq!(
        text(&history),
        "\
LIFE  WOKEN BY     AT     ON   CPU TIME  REQUESTS  END
   1  hv        1.5 s  2.2 s  1234.0 µs         3  drained
   2  debian    1.5 s  2.2 s  1234.0 µs         3  crashed

ASKER   WAKES  REQUESTS   CPU TIME
debian      1         3  1234.0 µs
"
    );
    let json = serde_json::to_value(&history).unwrap();
    assert_eq!(json["lives"][1]["woken_by"], "debian");
    assert_eq!(json["askers"][0]["cpu_ns"], 1_234_000);
}
