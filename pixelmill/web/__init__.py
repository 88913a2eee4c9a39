"""The gallery: a store in a browser. Reads only; `app.make_app` is where it begins."""
