"""Reading of XML that users give: without entities, which a small file can expand enormously."""

from __future__ import annotations

from xml.etree import ElementTree


class _NoDoctype(ElementTree.TreeBuilder):
    """Builder that refuses a document type, the only place where entities can be defined."""

    def doctype(self, _name: str, _public: str | None, _system: str | None) -> None:
        raise ValueError("it has a document type, which could define entities")


def parse_xml(text: bytes) -> ElementTree.Element:
    """Return the root element of an XML document.

    Raises:
        ElementTree.ParseError: it cannot be parsed.
        ValueError: it has a document type.
        LookupError: its encoding is unknown.
    """
    return ElementTree.fromstring(text, ElementTree.XMLParser(target=_NoDoctype()))
