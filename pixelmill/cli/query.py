"""What `pixelmill search` is asked for: bare words and pictures, beside --text, --image and --row."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import click

from pixelmill.cli.help import GroupedCommand
from pixelmill.formatting import printable
from pixelmill.sources.address import checked_address, is_address, shown_path

if TYPE_CHECKING:
    from pixelmill.search.query import Picture, Term

_SHORT: Final = re.compile(r"-(k(=?[0-9]+)?|f|0|f0|0f|h)")
"""The options of one dash. Anything else behind one dash is a term: `-kitten` is no `-k itten`."""
_OR_WORDS: Final = " If these are words, write them behind --text."
_PATH: Final = re.compile(r"(/|\./|\.\./|~[^/\s]*/)")


class QueryCommand(GroupedCommand):
    """A command whose bare arguments may begin with a minus."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        options, words = self._sorted_out(ctx, args)
        return super().parse_args(ctx, [*options, "--", *words])

    def _sorted_out(self, ctx: click.Context, args: Sequence[str]) -> tuple[list[str], list[str]]:
        """Options with their values, and all other arguments. Behind `--` there are no options."""
        valued = {
            name for option in self.get_params(ctx)
            if isinstance(option, click.Option) and not option.is_flag for name in option.opts
        }  # fmt: skip
        options, words, rest = list[str](), list[str](), iter(args)
        for arg in rest:
            if arg == "--":
                words += rest
            elif arg.startswith("--") or _SHORT.fullmatch(arg):
                options += [arg, *_value(ctx, arg, rest)] if arg in valued else [arg]
            else:
                self._check(ctx, arg)
                words.append(arg)
        return options, words

    def _check(self, ctx: click.Context, arg: str) -> None:
        """Refuse an option that lacks a dash."""
        name = f"-{arg.partition('=')[0]}"
        if any(name in param.opts for param in self.get_params(ctx)) and not ctx.resilient_parsing:
            ctx.fail(f"No such option: {arg}. The option is {name}; to look away from these words, write --text={arg}")


def _value(ctx: click.Context, option: str, rest: Iterator[str]) -> Iterator[str]:
    value = next(rest, None)
    if value is not None:
        yield value
    elif not ctx.resilient_parsing:
        raise click.BadOptionUsage(option, f"Option {option!r} requires an argument.", ctx)


def asked_for(
    words: Sequence[str], texts: Iterable[str], images: Iterable[str], rows: Iterable[str]
) -> Iterator[Term]:  # fmt: skip
    """The terms of bare arguments and options. Raises QueryError, or BadParameter for a picture that cannot be read."""
    from pixelmill.search.terms import row_term, text_term

    yield from _bare(words)
    yield from map(text_term, texts)
    yield from (_picture(image) for image in images)
    yield from map(row_term, rows)


def _bare(arguments: Iterable[str]) -> Iterator[Term]:
    """Words without blanks belong together, as in the gallery's box; an argument with blanks is a line of its own."""
    from pixelmill.search.terms import terms_in, text_term

    line = list[str]()
    for argument in (*arguments, None):
        alone = argument is None or any(map(str.isspace, argument)) or _is_picture(argument)
        if not alone:
            line.append(argument or "")
            continue
        yield from map(text_term, terms_in(" ".join(line)))
        line.clear()
        if argument is not None:
            yield from [_picture(argument, _OR_WORDS)] if _is_picture(argument) else map(text_term, _line(argument))


def _line(argument: str) -> list[str]:
    from pixelmill.search.terms import terms_in

    return [argument] if argument[:1].isspace() else terms_in(argument)


def _is_picture(argument: str) -> bool:
    """An address, a path that is spelled as one, a name that ends like that of a picture, or a file in a folder."""
    from pixelmill.search.terms import weighed
    from pixelmill.sources.formats import has_image_extension

    name = weighed(argument)[1]
    return not argument[:1].isspace() and (
        is_address(name) or _PATH.match(name) is not None or has_image_extension(name)
        or ("/" in name and os.path.isfile(name))  # noqa: PTH113 - a name that is none is no file
    )  # fmt: skip


def _picture(written: str, or_else: str = "") -> Picture:
    from pixelmill.images.decode import DecodeOptions
    from pixelmill.paths import at_home
    from pixelmill.search.query import Picture
    from pixelmill.search.terms import weighed
    from pixelmill.sources.found import found_at
    from pixelmill.sources.reading import read_image

    weight, name = weighed(written)
    try:
        place = checked_address(name, kept=False) if is_address(name) else os.path.abspath(at_home(name))  # noqa: PTH100
        data = read_image(found_at(place), max_bytes=DecodeOptions().max_bytes)
    except (OSError, ValueError) as error:
        shown = printable(shown_path(name))
        raise click.BadParameter(f"Expected an image at {shown}. {_reason(error)}.{or_else}") from error
    return Picture(data, weight, shown_path(name))


def _reason(error: Exception) -> str:
    said = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return f"{said[:1].upper()}{said[1:]}".rstrip(".")


def in_words(terms: Iterable[Term]) -> str:
    """A query for people: `2 x red bike - people`."""
    told = " ".join(f"{'- ' if term.weight < 0 else '+ '}{_times(term.weight)}{_named(term)}" for term in terms)
    return told.removeprefix("+ ")


def _times(weight: float) -> str:
    return "" if abs(weight) == 1 else f"{abs(weight):.10g} x "


def _named(term: Term) -> str:
    from pixelmill.search.query import Picture, Text

    if isinstance(term, Text):
        return term.text
    return term.name if isinstance(term, Picture) else f"row {term.row}"
