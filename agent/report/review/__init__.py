"""The review of a campaign: one self-contained HTML page, made from the ledger, the results and the git history."""

from agent.report.review.page import INDEX, REPORT, index_page, report_page, write_index, write_report

__all__ = ["INDEX", "REPORT", "index_page", "report_page", "write_index", "write_report"]
