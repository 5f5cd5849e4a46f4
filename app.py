"""TA-Cleaner Lab. Start it with: streamlit run app.py

Opens the first page; each page is a file in pages/.
"""

import streamlit as st

st.set_page_config(page_title="TA-Cleaner Lab", page_icon="🧹", layout="wide")
st.switch_page("pages/1_Overview.py", query_params=st.query_params.to_dict())
