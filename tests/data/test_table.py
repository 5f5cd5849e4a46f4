"""Tables of image paths and captions: class and split columns, unreadable rows."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from cleaner import load_data
from cleaner.types import CleanerError
from tests.data.files import NAMES, image_bytes, make_caption, write_class_folder, write_table, write_tar

pytestmark = pytest.mark.quick


def test_class_column_and_class_file(tmp_path: Path) -> None:
    path = write_table(tmp_path)
    lines = path.read_text().splitlines()
    rows = [f"{line},{'warm_one' if i % 3 == 0 else 'cold'}" for i, line in enumerate(lines[1:])]
    path.write_text("\n".join([lines[0] + ",class", *rows]))
    assert load_data(str(path)).class_names == ["cold", "warm one"]
    (tmp_path / "names.txt").write_text("blue\nred\nsea lion, seal\n")
    (tmp_path / "b").mkdir()
    plain = write_table(tmp_path / "b")
    data = load_data(str(plain), classes=str(tmp_path / "names.txt"))
    assert data.class_names == ["blue", "red", "sea lion, seal"]
    assert set(data.labels.tolist()) == {-1, 0, 1}
    write_class_folder(tmp_path / "root")
    renamed: Any = load_data(str(tmp_path / "root"), classes="azure,leafy,rosy")  # in the order of the folders
    new_names = {"blue": "azure", "green": "leafy", "red": "rosy"}
    for row, label, caption in zip(renamed.rows, renamed.labels.tolist(), renamed.captions, strict=True):
        new_name = new_names[renamed.table.keys[row].split("/")[0]]
        assert renamed.class_names[label] == caption.split()[-1] == new_name
    with pytest.raises(CleanerError, match=r"2 class names .* 3 classes"):
        load_data(str(tmp_path / "root"), classes="azure,leafy")


def test_table_of_images_and_class_numbers_as_of_imagenet(tmp_path: Path) -> None:
    plain = write_table(tmp_path, 24)
    lines = [f"pics/{i}.png,{i % 12}" + ",a red one" * (i == 5) for i in range(24)]
    plain.write_text("image,label\n" + "\n".join(lines))
    names = [f"thing{i:02d}" for i in range(11)] + ["orange"]
    data: Any = load_data(str(plain), split="all", classes=",".join(names), most_broken=0.1)
    assert "caption from the class" in data.format_summary
    assert [text.partition(" has")[0] for text in data.skipped_items] == ["line 7"]  # a field too many
    for row, label, caption in zip(data.rows, data.labels.tolist(), data.captions, strict=True):
        number = int(Path(data.table.keys[row]).stem) % 12
        assert data.class_names[label] == names[number]
        assert caption.endswith(f"a{'n' * (number == 11)} {names[number]}")


def test_a_table_in_another_encoding_is_refused_in_words(tmp_path: Path) -> None:
    path = write_table(tmp_path)
    path.write_text(path.read_text(), encoding="utf-16")
    with pytest.raises(CleanerError, match=r"pairs\.csv is not in UTF-8: .* save it in UTF-8\.$"):
        load_data(str(path))


def test_classes_that_differ_in_case_or_blanks_are_one(tmp_path: Path) -> None:
    plain = write_table(tmp_path, 6)
    names = ["Sea  lion", "dog", "sea lion", "Dog ", "sea_Lion", "Cat"]
    plain.write_text("image,class\n" + "\n".join(f"pics/{i}.png,{name}" for i, name in enumerate(names)))
    data = load_data(str(plain), split="all")
    assert data.class_names == ["Cat", "Sea lion", "dog"]
    by_key = dict(zip(data.rows, data.labels.tolist(), strict=True))
    assert [by_key[row] for row in range(6)] == [1, 2, 1, 2, 1, 0]
    with pytest.raises(CleanerError, match="twice"):
        load_data(str(plain), classes="dog,Dog,cat")


def test_a_line_without_a_caption_gets_one_from_its_class(tmp_path: Path) -> None:
    plain = write_table(tmp_path, 3)
    plain.write_text("image,caption,class\npics/0.png,two dogs,dog\npics/1.png,,cat\npics/2.png,,\n")
    data = load_data(str(plain), split="all")
    assert data.skipped_items == ["line 4 has no image or no caption"]
    captions = {data.class_names[label]: text for text, label in zip(data.captions, data.labels.tolist(), strict=True)}
    assert captions["dog"] == "two dogs"
    assert captions["cat"].endswith("a cat")


def test_an_empty_class_column_is_none(tmp_path: Path) -> None:
    path = write_table(tmp_path, 6, header=("filepath", "title", "class"))
    plain = load_data(str(path), split="all")
    assert (plain.class_names, set(plain.labels.tolist())) == ([], {-1})
    data = load_data(str(path), split="all", classes="red,green,blue")
    assert data.class_names == ["red", "green", "blue"]
    assert all(NAMES[label] in caption for label, caption in zip(data.labels, data.captions, strict=True))


def test_class_file_with_a_byte_order_mark_and_a_comma_in_its_path(tmp_path: Path) -> None:
    (tmp_path / "my, own").mkdir()
    names = tmp_path / "my, own" / "names.txt"
    names.write_text("red\r\ngreen\r\nblue\r\n", encoding="utf-8-sig")
    data = load_data(str(write_table(tmp_path)), classes=str(names))
    assert data.class_names == NAMES
    assert set(data.labels.tolist()) == {0, 1, 2}


def test_class_names_may_end_in_any_sign(tmp_path: Path) -> None:
    path = write_table(tmp_path, 3)
    texts = ["a page of C++", "a book on Java, or C++?", "Java for everyone"]
    path.write_text("filepath,title\n" + "\n".join(f'pics/{i}.png,"{text}"' for i, text in enumerate(texts)))
    data = load_data(str(path), split="all", classes="C++,Java")
    labels = dict(zip(data.captions, data.labels.tolist(), strict=True))
    assert [labels[text] for text in texts] == [0, -1, 1]
    assert {text for text, named in zip(data.captions, data.mentions("C++"), strict=True) if named} == {*texts[:2]}


def test_captions_may_name_a_class_in_the_plural(tmp_path: Path) -> None:
    path = write_table(tmp_path, 6)
    texts = ["two wolves", "Grey wolf at night", "six buses", "a wolfhound", "glasses on a shelf", "children at play"]
    path.write_text("filepath,title\n" + "\n".join(f"pics/{i}.png,{text}" for i, text in enumerate(texts)))
    data = load_data(str(path), split="all", classes="Wolf,bus,glass,glasses,child")
    labels = dict(zip(data.captions, data.labels.tolist(), strict=True))
    assert [labels[text] for text in texts] == [0, 0, 1, -1, 3, 4]
    assert {text for text, named in zip(data.captions, data.mentions("Wolf"), strict=True) if named} == {*texts[:2]}


def test_letters_that_only_a_regex_equates_do_not_match(tmp_path: Path) -> None:
    path = write_table(tmp_path, 3)
    path.write_text("filepath,title\npics/0.png,bir fıl\npics/1.png,bir fil\npics/2.png,a roſe", encoding="utf-8")
    data = load_data(str(path), split="all", classes="fil,rose")
    assert dict(zip(data.captions, data.labels.tolist(), strict=True)) == {"bir fıl": -1, "bir fil": 0, "a roſe": -1}


def test_numbered_classes_are_named_in_numeric_order(tmp_path: Path) -> None:
    path = write_table(tmp_path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0] + ",label", *(f"{line},{i % 12}" for i, line in enumerate(lines[1:]))]))
    write_class_folder(tmp_path / "root")
    for name, number in zip(NAMES, (10, 9, 2), strict=True):
        (tmp_path / "root" / name).rename(tmp_path / "root" / str(number))
    numbers: Any = load_data(str(path), classes="a,b,c,d,e,f,g,h,i,j,k,l")
    for row, label in zip(numbers.rows, numbers.labels.tolist(), strict=True):
        assert label == int(Path(numbers.table.keys[row]).stem) % 12
    assert load_data(str(tmp_path / "root")).class_names == ["2", "9", "10"]


def test_split_column_defines_the_splits(tmp_path: Path) -> None:
    path = write_table(tmp_path, 60)
    lines = path.read_text().splitlines()
    parts = ["train", "val", "Test", "restval", "test"]
    rows = [f"{line},{parts[i % 5]}" for i, line in enumerate(lines[1:])]
    path.write_text("\n".join([lines[0] + ",split", *rows]))
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        for member in (path, *sorted((tmp_path / "pics").iterdir())):
            file.write(member, f"deep/{member.relative_to(tmp_path)}")
    for source in (path, tmp_path / "x.zip"):
        counts = {split: len(load_data(str(source), split=split)) for split in ("train", "validation", "test")}
        assert counts == {"train": 12, "validation": 12, "test": 24}
        test: Any = load_data(str(source), split="test")
        assert {int(Path(test.table.keys[row]).stem) % 5 for row in test.rows} == {2, 4}
        assert any("line 5" in item and "'restval'" in item for item in test.skipped_items)
        assert len(test.skipped_items) == 12
        assert test.split_rule == "test: defined by the data; validation: defined by the data"
        assert "split in 'split'" in test.format_summary
    (tmp_path / "plain").mkdir()
    plain = load_data(str(write_table(tmp_path / "plain")))
    assert plain.split_rule.startswith("test: 20%")
    assert plain.subset([0]).split_rule == plain.split_rule
    with pytest.raises(CleanerError, match=r"'part'.*split_column="):
        load_data(str(path), split_column="part")


def test_names_and_captions_must_be_valid_unicode(tmp_path: Path) -> None:
    write_class_folder(tmp_path / "root", 6)
    os.rename(tmp_path / "root" / "red" / "0.png", os.fsencode(tmp_path / "root" / "red") + b"/caf\xe9.png")
    with pytest.raises(CleanerError, match=r"'red/caf\\udce9\.png' in .*UTF-8"):
        load_data(str(tmp_path / "root"))
    write_tar(tmp_path / "x.tar", {"0.png": image_bytes(0), "0.json": rb'{"caption": "a \ud800 wall"}'})
    with pytest.raises(CleanerError, match=r"'a \\ud800 wall' in .*UTF-8"):
        load_data(str(tmp_path / "x.tar"), split="all")


def test_a_list_of_images_on_the_network_without_a_header_is_named_as_one(tmp_path: Path) -> None:
    """As Conceptual Captions is published: no name of a column would help."""
    path = tmp_path / "Train_GCC-training.tsv"
    path.write_text("a very typical bus station\thttp://example.org/a.jpg\na cat\thttp://example.org/b\n")
    with pytest.raises(CleanerError, match=r"has no header .*\(http://example.org/a.jpg\): download"):
        load_data(str(path))


def test_rows_with_more_fields_than_the_header_are_skipped(tmp_path: Path) -> None:
    path = write_table(tmp_path, 3)
    path.write_text("filepath,title,class\npics/0.png,a red wall,red,\npics/1.png,a big, green wall,green\n,,\n")
    data = load_data(str(path), split="all")
    assert (data.captions, data.class_names) == (["a red wall"], ["red"])
    assert any("line 3 has more fields" in item for item in data.skipped_items)
    (tmp_path / "none.csv").write_text("filepath,title\na.png,red, green\n")
    with pytest.raises(CleanerError, match="line 2"):
        load_data(str(tmp_path / "none.csv"))


def test_a_blank_may_stand_before_a_quote(tmp_path: Path) -> None:
    path = write_table(tmp_path, 3)
    path.write_text('filepath, title, class\npics/0.png, "a red wall", red\npics/1.png, "a big, green wall", green\n')
    data = load_data(str(path), split="all")
    assert data.captions == ["a red wall", "a big, green wall"]
    assert not data.skipped_items
    path.write_text("filepath\ttitle\tclass\n\ta red wall\tred\npics/1.png\ta green wall\tgreen\n")
    assert load_data(str(path), split="all").captions == ["a green wall"]


def test_a_quote_that_is_not_closed_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = write_table(tmp_path, 12, sep="\t")
    lines = path.read_text().replace('"', "").splitlines()
    lines[3] = lines[3].replace("\t", '\t"')
    path.write_text("\n".join(lines))
    with pytest.raises(CleanerError, match=r"line 4 of .* opens a quote that is not closed before line 13"):
        load_data(str(path))
    lines[3] += '\nof two lines, "" quoted"'
    path.write_text("\n".join(lines))
    data = load_data(str(path), split="all")
    assert len(data) == 12
    assert any(caption.endswith('of two lines, " quoted') for caption in data.captions)


@pytest.mark.parametrize("row", ['"a red wall,pics/2.png', 'a red wall,"pics/2.png', '"a red, blue wall,pics/2.png'])
def test_a_quote_that_is_not_closed_may_swallow_the_path(row: str, tmp_path: Path) -> None:
    rows = [f"{make_caption(i).replace(',', '')},pics/{i}.png" for i in range(12)]
    path = write_table(tmp_path, 12)
    path.write_text("\n".join(["title,filepath", *rows[:2], row, *rows[3:]]))
    with pytest.raises(CleanerError, match=r"line 4 of .* opens a quote that is not closed before line 13"):
        load_data(str(path))
    path.write_text("\n".join(["title,filepath", *rows[:2], '"a wall\nof two, lines",', *rows[3:]]))
    data = load_data(str(path), split="all")
    assert len(data) == 11
    assert data.skipped_items == ["line 5 has no image or no caption"]


@pytest.mark.parametrize("listed", [r"pics\{}é.png", "pics/{}e\N{COMBINING ACUTE ACCENT}.png"], ids=["Windows", "Mac"])
def test_paths_as_other_systems_write_them(listed: str, tmp_path: Path) -> None:
    (tmp_path / "pics").mkdir()
    for i in range(12):
        (tmp_path / "pics" / f"{i}é.png").write_bytes(image_bytes(i))
    rows = [f"{listed.format(i)},a wall" for i in range(12)]
    (tmp_path / "pairs.csv").write_text("\n".join(["filepath,title", *rows]), encoding="utf-8")
    assert len(load_data(str(tmp_path / "pairs.csv"), split="all", most_broken=0)) == 12
