"""Start the app with weights from another folder: python launch.py PORT ASSETS. For tests without shipped weights."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    import cleaner.clip

    cleaner.clip.ASSETS = Path(sys.argv[2])
    from streamlit.web import cli

    sys.argv = ["streamlit", "run", str(ROOT / "app.py"), "--server.port", sys.argv[1]]
    cli.main()
