"""What a request's parts are held in: headers, arguments, uploaded files, with the names that Flask's have."""

from __future__ import annotations

import io
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Mapping


class MultiDict(dict):
    """A dict of the first values, with `getlist` for all of them, as werkzeug's MultiDict."""

    def __init__(self, pairs: Iterable[tuple[str, Any]] = ()) -> None:
        super().__init__()
        self._lists: dict[str, list[Any]] = {}
        for key, value in pairs:
            self._lists.setdefault(key, []).append(value)
            self.setdefault(key, value)

    def get(self, key: str, default: Any = None, type: Callable[[Any], Any] | None = None) -> Any:
        value = super().get(key, default)
        if type is None or key not in self:
            return value
        try:
            return type(value)
        except (ValueError, TypeError):
            return default

    def getlist(self, key: str, type: Callable[[Any], Any] | None = None) -> list[Any]:
        values = list(self._lists.get(key, []))
        return values if type is None else [type(value) for value in values]

    def items(self, multi: bool = False) -> Any:
        if not multi:
            return super().items()
        return ((key, value) for key, values in self._lists.items() for value in values)

    def lists(self) -> Iterator[tuple[str, list[Any]]]:
        return iter(self._lists.items())

    def to_dict(self, flat: bool = True) -> dict[str, Any]:
        return dict(self) if flat else {key: list(values) for key, values in self._lists.items()}


class Headers:
    """Headers with case-insensitive names, in order, repeated ones kept."""

    def __init__(self, pairs: Iterable[tuple[str, Any]] = ()) -> None:
        self._pairs = [(key, _line(value)) for key, value in pairs]

    def __getitem__(self, name: str) -> str:
        for key, value in self._pairs:
            if key.lower() == name.lower():
                return value
        raise KeyError(name)

    def __setitem__(self, name: str, value: Any) -> None:
        at = next((i for i, (key, _) in enumerate(self._pairs) if key.lower() == name.lower()), len(self._pairs))
        self.remove(name)
        self._pairs.insert(at, (name, _line(value)))

    def __delitem__(self, name: str) -> None:
        self.remove(name)

    def __contains__(self, name: object) -> bool:
        return any(key.lower() == str(name).lower() for key, _ in self._pairs)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(list(self._pairs))

    def __len__(self) -> int:
        return len(self._pairs)

    def get(self, name: str, default: Any = None, type: Callable[[Any], Any] | None = None) -> Any:
        if name not in self:
            return default
        return self[name] if type is None else type(self[name])

    def getlist(self, name: str) -> list[str]:
        return [value for key, value in self._pairs if key.lower() == name.lower()]

    get_all = getlist

    def add(self, name: str, value: Any) -> None:
        self._pairs.append((name, _line(value)))

    add_header = add

    def set(self, name: str, value: Any) -> None:
        self[name] = value

    def setdefault(self, name: str, value: Any) -> str:
        if name not in self:
            self.add(name, value)
        return self[name]

    def remove(self, name: str) -> None:
        self._pairs = [(key, value) for key, value in self._pairs if key.lower() != name.lower()]

    def update(self, values: Mapping[str, Any]) -> None:
        for key, value in values.items():
            self[key] = value

    def keys(self) -> list[str]:
        return [key for key, _ in self._pairs]

    def values(self) -> list[str]:
        return [value for _, value in self._pairs]

    def items(self) -> list[tuple[str, str]]:
        return list(self._pairs)

    to_wsgi_list = items


def _line(value: Any) -> str:
    text = str(value)
    if "\n" in text or "\r" in text:
        raise ValueError("a header's value must not hold a line break")
    return text


def title_case(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """The names as Flask shows them to run(): `Content-Type`, `X-Ms-Request-Id`."""
    return [("-".join(part.capitalize() for part in name.split("-")), value) for name, value in headers.items()]


class FileStorage:
    """One uploaded file."""

    def __init__(self, name: str, filename: str, content: bytes, content_type: str | None) -> None:
        self.name = name
        self.filename = filename
        self.stream = io.BytesIO(content)
        self.content_type = content_type
        self.mimetype = (content_type or "").split(";")[0].strip()
        self.content_length = len(content)

    def read(self, size: int = -1) -> bytes:
        return self.stream.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.stream.seek(offset, whence)

    def readline(self) -> bytes:
        return self.stream.readline()

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.stream)

    def save(self, destination: Any) -> None:
        if hasattr(destination, "write"):
            destination.write(self.stream.read())
            return
        with Path(destination).open("wb") as file:
            file.write(self.stream.read())

    def close(self) -> None:
        self.stream.close()


def parse_multipart(body: bytes, content_type: str) -> tuple[MultiDict, MultiDict]:
    """The fields and the files of a multipart/form-data body.

    Split by hand at the boundary: the email package would decode binary parts line by line and change their ends.
    """
    message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + content_type.encode("latin-1") + b"\r\n\r\n")
    boundary = message.get_boundary()
    fields: list[tuple[str, Any]] = []
    files: list[tuple[str, Any]] = []
    if not boundary:
        return MultiDict(), MultiDict()
    mark = b"\r\n--" + boundary.encode("latin-1")
    for piece in (b"\r\n" + body).split(mark)[1:]:
        if piece.startswith(b"--"):
            break
        head, blank, content = piece.partition(b"\r\n\r\n")
        if not blank:
            continue
        part = BytesParser(policy=HTTP).parsebytes(head.lstrip(b" \t\r\n") + b"\r\n\r\n")
        name = part.get_param("name", header="content-disposition")
        filename = part.get_filename()
        if filename is not None:
            files.append((str(name), FileStorage(str(name), filename, content, part.get("content-type"))))
        elif name is not None:
            fields.append((str(name), content.decode("utf-8", "replace")))
    return MultiDict(fields), MultiDict(files)
