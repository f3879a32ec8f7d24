"""Data sets as the library gets them: every kind, every refusal. Needs numpy, not torch."""
import unittest

import support

np = support.require("numpy")

import amalgam  # noqa: E402
from amalgam import _data  # noqa: E402
from amalgam._watch import Watch  # noqa: E402


class Items:
    """A data set of single items."""

    def __init__(self, items, **members):
        self.items = items
        self.__dict__.update(members)

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        item = self.items[i]
        if isinstance(item, Exception):
            raise item
        return item


class Subset:
    def __init__(self, dataset, indices):
        self.dataset, self.indices = dataset, indices


class Columns:
    """As Hugging Face's datasets are indexed: a list of rows gives a dict of columns."""

    def __init__(self, **columns):
        self.columns = columns
        self.column_names = list(columns)

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def __getitem__(self, rows):
        return {n: [c[r] for r in rows] for n, c in self.columns.items()}


class Image:
    """What of a PIL image is used."""

    def __init__(self, mode, pixels):
        self.mode, self.pixels = mode, np.asarray(pixels, np.uint8)

    def getbands(self):
        return tuple(self.mode)

    def convert(self, mode):
        return Image(mode, np.repeat(self.pixels[..., None], len(mode), 2))

    def __array__(self, dtype=None, copy=None):
        return self.pixels


def rows_of(data, columns=None, classes=3):
    rows = _data.open_data(data, "the data", columns)
    rows.num_classes = classes
    return rows


def read(rows, numbers):
    """What the library would read: (x, y)."""
    x = np.full((len(numbers), *rows.shape), 7, _data.NUMPY[rows.dtype])
    y = np.full((len(numbers), *rows.target_shape), 7, _data.NUMPY[rows.target_dtype or "I32"])
    rows.write(numbers, x.ctypes.data, y.ctypes.data)
    return x, y


X = np.arange(5 * 12, dtype=np.uint8).reshape(5, 1, 3, 4)
Y = np.array([0, 1, 2, 1, 0])


class Kinds(unittest.TestCase):
    def check(self, rows, x, y, dtype, target):
        self.assertEqual((rows.dtype, rows.target_dtype, rows.num), (dtype, target, len(x)))
        order = [4, 0, 0, 3]
        got_x, got_y = read(rows, order)
        np.testing.assert_array_equal(got_x, np.asarray(x)[order])
        if target:
            np.testing.assert_array_equal(got_y, np.asarray(y)[order])
        else:
            self.assertTrue((got_y == 7).all())

    def test_arrays(self):
        self.check(rows_of((X, Y)), X, Y, "U8", "I32")
        self.check(rows_of((X.astype("f8"), Y.astype("u1"))), X, Y, "F32", "I32")
        self.check(rows_of((X.astype("i8"), Y.astype("f4")[:, None])), X, Y[:, None], "I32", "F32")
        self.check(rows_of(X), X, None, "U8", None)
        self.check(rows_of((X, np.stack([Y, Y], 1))), X, np.stack([Y, Y], 1), "U8", "I32")

    def test_items(self):
        self.check(rows_of(Items(list(zip(X, Y)))), X, Y, "U8", "I32")
        self.check(rows_of(Items([[x, int(y)] for x, y in zip(X, Y)])), X, Y, "U8", "I32")
        self.check(rows_of(Items([{"a": x, "b": y} for x, y in zip(X, Y)]), ("a", "b")), X, Y, "U8", "I32")
        self.check(rows_of(Items(list(X))), X, None, "U8", None)

    def test_columns(self):
        self.check(rows_of(Columns(image=X, label=Y, other=Y), ("image", "label")), X, Y, "U8", "I32")

    def test_subsets_of_subsets(self):
        inner = Subset(Items(list(zip(X, Y))), [4, 3, 2, 1, 0])
        rows = rows_of(Subset(inner, [1, 0]))
        self.assertEqual(rows.num, 2)
        np.testing.assert_array_equal(read(rows, [0, 1])[0], X[[3, 4]])

    def test_images_become_channels_first_bytes(self):
        rgb = np.arange(24).reshape(2, 4, 3)
        rows = rows_of(Items([(Image("RGB", rgb), 1)] * 5))
        self.assertEqual((rows.dtype, rows.shape), ("U8", (3, 2, 4)))
        np.testing.assert_array_equal(read(rows, [0])[0][0], rgb.transpose(2, 0, 1))
        self.assertEqual(rows_of(Items([(Image("L", rgb[..., 0]), 1)])).shape, (1, 2, 4))
        self.assertEqual(rows_of(Items([(Image("P", rgb[..., 0]), 1)])).shape, (3, 2, 4))

    def test_a_data_spec_stays_text(self):
        self.assertEqual(_data.open_data("folder@train", "x", None), "folder@train")
        self.assertIsNone(_data.open_data(None, "x", None))


class Refusals(support.Case):
    def refuse(self, data, row, what, code, columns=None):
        with self.refused(amalgam.DataError, what, code, where="the data"):
            rows = rows_of(data, columns)
            self.assertGreater(row, 0, "was to be refused at once")
            read(rows, [0, row])

    def test_the_row_that_is_wrong_is_named(self):
        nan = X.astype("f4")
        nan[2, 0, 1, 1] = np.nan
        big = X.astype("i8")
        big[3] += 2 ** 31
        for data, row, what, code in [
                (Items([(X[0], 0), (X[1][:, :2], 1)]), 1, r"row 1: sample is \[1, 2, 4\], the first one \[1, 3, 4\]",
                 "MISMATCH"),
                ((X, np.array([0, 1, 3, 0, 0])), 2, "row 2: label 3, expected 0 to 2", "INVALID"),
                ((X, np.array([0, -1, 2, 0, 0])), 1, "row 1: label -1, expected 0 to 2", "INVALID"),
                ((nan, Y), 2, "row 2: sample holds NaN", "NOT_FINITE"),
                ((X, np.array([[0.], [np.inf], [0], [0], [0]])), 1, "row 1: target holds NaN", "NOT_FINITE"),
                ((big, Y), 3, "row 3: a value does not fit 32 bits", "OVERFLOW"),
                (Items([(X[0], 0), (X[1].astype("f4"), 1)]), 1, "row 1: sample is float32", "MISMATCH"),
                (Items([(X[0], 0), X[1]]), 1, "row 1: has no target", "MISMATCH"),
                (Items([(X[0], 0), (X[1], 0.5)]), 1, "row 1: target is float64", "MISMATCH"),
                (Items([(X[0], 0), (X[1], [0, 1])]), 1, r"row 1: target is \[2\]", "MISMATCH"),
                (Items([(X[0], 0), ValueError("torn page")]), 1,
                 "row 1: the data set raised ValueError: torn page", "IO")]:
            with self.subTest(what=what):
                self.refuse(data, row, what, code)

    def test_what_is_no_data_set_is_refused_at_once(self):
        for data, what, code, columns in [
                ((X, Y[:3]), r"differ in number: \[3, 5\]", "INVALID", None),
                ((X[:0], Y[:0]), "has no samples", "INVALID", None),
                (iter([]), "list_iterator has no length", "INVALID", None),
                (Items([()]), "row 0: has 0 parts", "UNSUPPORTED", None),
                (Items([{"a": 1}]), "row 0: is a dict of a", "UNSUPPORTED", None),
                (Items([("text", 1)]), "row 0: element type", "UNSUPPORTED", None),
                (Items([(Image("F", [[1]]), 1)]), "row 0: image of mode F", "UNSUPPORTED", None),
                (Columns(image=X, label=Y), "columns are not chosen", "INVALID", None),
                (Columns(image=X, label=Y), 'has no column "target"', "NOT_FOUND", ("image", "target"))]:
            with self.subTest(what=what):
                self.refuse(data, 0, what, code, columns)

    def test_covers_that_share_rows_with_the_own_data_are_refused(self):
        base = Items(list(zip(X, Y)))
        own, pool = rows_of(Subset(base, [0, 1, 2])), rows_of(Subset(base, [4, 2]))
        with self.refused(amalgam.DataError, "shares 1 sample with the data, e.g. its row 2"):
            _data.check_disjoint(own, pool)
        _data.check_disjoint(own, rows_of(Subset(base, [4, 3])))


class InTheLibrary(support.Case):
    """The function as C calls it: its failures travel as a status and come back as what they were."""

    def call(self, rows, numbers):
        import ctypes
        from amalgam import _library as lib
        watch, error = Watch(False), lib.Error()
        made = rows.struct(watch)
        x = np.zeros((len(numbers), *rows.shape), _data.NUMPY[rows.dtype])
        at = (ctypes.c_int64 * len(numbers))(*numbers)
        status = made.read(None, at, len(numbers), x.ctypes.data, None, ctypes.pointer(error))
        return status, error, watch, x

    def test_rows_arrive(self):
        status, _, watch, x = self.call(rows_of((X, Y)), [2, 1])
        self.assertEqual(status, 0)
        np.testing.assert_array_equal(x, X[[2, 1]])
        watch.check()

    def test_a_refusal_is_kept_and_its_words_go_along(self):
        status, error, watch, _ = self.call(rows_of(Items([(X[0], 0), KeyError("gone")])), [1])
        self.assertEqual(status, error.code)
        self.assertIn(b"row 1", error.what)
        with self.assertRaisesRegex(amalgam.DataError, "row 1") as caught:
            watch.check()
        self.assertIsInstance(caught.exception.__cause__, KeyError)

    def test_ctrl_c_stops_the_work_and_is_raised_after_it(self):
        class Stopped(Items):
            def __getitem__(self, i):
                if i == 1:
                    raise KeyboardInterrupt
                return super().__getitem__(i)
        status, _, watch, _ = self.call(rows_of(Stopped(list(zip(X, Y)))), [0, 1])
        self.assertEqual(status, 15)
        with self.assertRaises(KeyboardInterrupt):
            watch.check()


if __name__ == "__main__":
    unittest.main()
